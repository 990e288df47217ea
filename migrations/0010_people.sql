-- What guests say when they book: answers to what the service asks, by key, and who or what comes along.
-- Personal, so not in events. Null when there is none, so that most bookings pay nothing for them.
ALTER TABLE appointment_private
  ADD COLUMN answers  jsonb,
  ADD COLUMN subjects jsonb;

-- Customers whom the owner looks after.
ALTER TABLE customer
  ADD COLUMN notes       text,
  -- Sequence of the last event in the customer's stream; 0 while nobody has changed anything.
  ADD COLUMN version     bigint NOT NULL DEFAULT 0,
  -- Another row of the same business that stands for this guest now, and is never merged itself. This
  -- one stays, so that its addresses still find them.
  ADD COLUMN merged_into uuid,
  -- The digits of the phone number, and the leading + where there is one. `GuestAddress::phone` does the
  -- same: numbers have digits, blanks and + - ( ) . only.
  ADD COLUMN phone_digits text COLLATE "C" GENERATED ALWAYS AS (
    CASE WHEN ltrim(phone, '-(). ') LIKE '+%' THEN '+' ELSE '' END || translate(phone, '+-(). ', '')
  ) STORED;
-- A guest without an e-mail address is found again by their number: the first who had it.
CREATE INDEX customer_phone ON customer (business_id, phone_digits, customer_id)
  WHERE phone_digits IS NOT NULL;
CREATE INDEX customer_name ON customer (business_id, (lower(name) COLLATE "C"), customer_id)
  WHERE merged_into IS NULL; -- lists
CREATE INDEX customer_merged ON customer (merged_into) WHERE merged_into IS NOT NULL; -- merging again

-- Who stands for whom, for visits that are booked for a merged customer nevertheless.
CREATE TABLE agenda.merged_customer (
  customer_id uuid PRIMARY KEY,
  business_id uuid NOT NULL,
  into_id     uuid NOT NULL
);
CREATE INDEX merged_customer_into ON agenda.merged_customer (into_id); -- merging again
CREATE INDEX appointment_customer
  ON agenda.appointment (business_id, customer_id, starts_at, appointment_id); -- one customer's visits

GRANT SELECT, INSERT, UPDATE, DELETE ON agenda.merged_customer TO apptremind_app;
