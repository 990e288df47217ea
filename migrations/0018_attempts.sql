-- Each try of a message, with what the provider said: evidence, which events cannot hold, since the words of a
-- provider may quote an address.

CREATE TABLE notification_attempt (
  notification_id uuid        NOT NULL,
  attempt         integer     NOT NULL, -- from 1
  business_id     uuid        NOT NULL,
  taken_at        timestamptz NOT NULL,
  handed_over_at  timestamptz,          -- null: nothing left this system
  ended_at        timestamptz,          -- null: under way
  -- What came of it: sent, deferred, failed, uncertain, cancelled; lost when its sender fell silent before
  -- anything was handed over.
  outcome         text CHECK (outcome IN ('sent', 'deferred', 'failed', 'uncertain', 'cancelled', 'lost')),
  reason          text,
  provider        text,
  provider_id     text,
  answer          text,                 -- in the provider's words
  PRIMARY KEY (notification_id, attempt)
);

ALTER TABLE notification_attempt ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notification_attempt TO apptremind_app USING (business_id =
  (SELECT nullif(current_setting('apptremind.business_id', true), '')::uuid));
CREATE POLICY system ON notification_attempt TO apptremind_system USING (true);
GRANT SELECT ON notification_attempt TO apptremind_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON notification_attempt TO apptremind_system;

CREATE INDEX notification_time ON notifications.notification (business_id, due_at, notification_id); -- lists
