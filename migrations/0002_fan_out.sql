-- Where the relay and each consumer are in the feed.

CREATE TABLE relay_cursor (
  singleton      boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
  transaction_id xid8        NOT NULL,
  position       bigint      NOT NULL,
  -- The life of the JetStream stream that the cursor speaks of.
  stream_created text
);
INSERT INTO relay_cursor (transaction_id, position) VALUES ('0', 0);

CREATE TABLE consumer_checkpoint (
  consumer       text        PRIMARY KEY,
  transaction_id xid8        NOT NULL,
  position       bigint      NOT NULL,
  -- Why it stopped, when an event could not be applied.
  halted         text,
  updated_at     timestamptz NOT NULL DEFAULT now()
);

-- Messages that a reactor set aside, to be read, retried or dropped by a person.
CREATE TABLE dead_letter (
  id          uuid        PRIMARY KEY,
  business_id uuid        NOT NULL,
  consumer    text        NOT NULL,
  subject_id  text        NOT NULL,
  reason      text        NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  UNIQUE (consumer, subject_id)
);
CREATE INDEX dead_letter_business ON dead_letter (business_id, created_at); -- listing by tenant

GRANT SELECT, INSERT, UPDATE, DELETE ON relay_cursor, consumer_checkpoint, dead_letter TO apptremind_app;
