-- Limits of visits in a day or week.

-- What a visit is for, so that visits can be counted by service. Builds before this one leave it
-- empty: such a visit counts for staff and business only.
ALTER TABLE reserved_time ADD COLUMN service_id uuid;
UPDATE reserved_time r
   SET service_id = substr(e.payload -> 'visit' ->> 'service_id', 5)::uuid
  FROM events e
 WHERE e.aggregate_type = 'appointment' AND e.sequence = 1
   AND e.aggregate_id = 'appt_' || replace(r.appointment_id::text, '-', '')
   AND e.payload -> 'visit' ->> 'service_id' LIKE 'svc\_%';
CREATE INDEX reserved_time_starts ON reserved_time (business_id, lower(during)); -- counting a week

-- The places of a day or week that has a limit: a visit takes the lowest that is free. Two who were
-- decided on the same count want the same place, and the second is decided again.
CREATE TABLE visit_place (
  business_id    uuid    NOT NULL,
  first_date     date    NOT NULL, -- local
  period         text    NOT NULL COLLATE "C" CHECK (period IN ('day', 'week')),
  subject_id     uuid    NOT NULL, -- the business, the service or the staff member whose limit it is
  place          integer NOT NULL CHECK (place > 0),
  appointment_id uuid    NOT NULL,
  PRIMARY KEY (business_id, first_date, period, subject_id, place)
);
CREATE INDEX visit_place_appointment ON visit_place (appointment_id); -- giving them back

GRANT SELECT, INSERT, UPDATE, DELETE ON visit_place TO apptremind_app;
