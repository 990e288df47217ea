-- Guests who wait for a time to become free. Each row follows its stream in the same transaction: whom
-- to offer a time, and what owners list.
CREATE TABLE waitlist_entry (
  waitlist_id    uuid        PRIMARY KEY,
  business_id    uuid        NOT NULL,
  place          bigint      NOT NULL, -- position of the event that joined: who joined first is offered first
  service_id     uuid        NOT NULL,
  staff_id       uuid,                 -- null for anybody
  from_at        timestamptz NOT NULL,
  until_at       timestamptz NOT NULL,
  joined_at      timestamptz NOT NULL,
  status         text        NOT NULL,
  appointment_id uuid                  -- what is or was offered
);
CREATE INDEX waitlist_entry_place ON waitlist_entry (business_id, place); -- lists
CREATE INDEX waitlist_entry_open ON waitlist_entry (business_id, place)
  WHERE status IN ('waiting', 'offered'); -- whom to offer a time

-- Who waits: personal, so not in events.
CREATE TABLE waitlist_private (
  waitlist_id uuid PRIMARY KEY,
  business_id uuid NOT NULL,
  name        text NOT NULL,
  email       text NOT NULL,
  phone       text,
  timezone    text,
  notes       text
);
CREATE INDEX waitlist_private_email ON waitlist_private (business_id, lower(email)); -- how often a guest waits

-- Businesses with guests who wait, in which time may have become free since they were looked at.
CREATE TABLE waitlist_wake (
  business_id    uuid   PRIMARY KEY,
  transaction_id bigint NOT NULL, -- of the last event that may have made time free
  position       bigint NOT NULL
);
-- Nobody waits yet, so nothing that has happened is of interest.
INSERT INTO consumer_checkpoint (consumer, transaction_id, position)
SELECT 'wake-waitlists', transaction_id, position FROM events
 ORDER BY transaction_id DESC, position DESC LIMIT 1;

GRANT SELECT, INSERT, UPDATE, DELETE ON waitlist_entry, waitlist_private, waitlist_wake
  TO apptremind_app;
