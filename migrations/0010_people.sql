-- What guests say when they book: answers to what the service asks, by key, and who or what comes along.
-- Personal, so not in events. Null when there is none, so that most bookings pay nothing for them.
ALTER TABLE appointment_private
  ADD COLUMN answers  jsonb,
  ADD COLUMN subjects jsonb;
