-- Whose reminders are to be planned again, since somebody wants them otherwise: work of the scheduler, done in
-- pages, the rows of a business one after the other.

CREATE TABLE replan (
  replan_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  business_id    uuid        NOT NULL,
  service_id     uuid,                 -- null: of all services
  -- The change that asks for it: visits that come later are planned with it anyway.
  transaction_id xid8        NOT NULL,
  position       bigint      NOT NULL,
  -- Up to here it is done.
  after_start    timestamptz NOT NULL DEFAULT 'epoch',
  after_id       uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  correlation_id uuid        NOT NULL,
  traceparent    text,
  UNIQUE (transaction_id, position)    -- the same change, read again, asks once
);

ALTER TABLE replan ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON replan TO apptremind_app USING (business_id =
  (SELECT nullif(current_setting('apptremind.business_id', true), '')::uuid));
CREATE POLICY system ON replan TO apptremind_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON replan TO apptremind_system;
