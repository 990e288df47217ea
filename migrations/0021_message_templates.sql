-- The words that businesses have of their own: what the events of each `message_template` stream amount to,
-- written with them. The events carry the words whole, so that a stream soon is longer than what it amounts to.

CREATE TABLE message_template (
  template_id uuid   PRIMARY KEY,      -- follows from business, kind and locale
  business_id uuid   NOT NULL,
  kind        text   NOT NULL,
  locale      text   NOT NULL,         -- as it was written
  -- The words of each part; null: ours.
  subject     text,
  text        text,
  html        text,
  sms         text,
  version     bigint NOT NULL,         -- sequence of the event that they are from
  sequence    bigint NOT NULL          -- of the last event
);
CREATE INDEX message_template_of ON message_template (business_id); -- lists

ALTER TABLE message_template ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON message_template TO apptremind_app USING (business_id =
  (SELECT nullif(current_setting('apptremind.business_id', true), '')::uuid));
CREATE POLICY system ON message_template TO apptremind_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON message_template TO apptremind_app, apptremind_system;
