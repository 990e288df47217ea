-- Resources, classes, and visits of several services.

-- One row for each service of a visit. A meeting of a class has one row under an id of its own, however
-- many come to it; its seats are counted here as well, behind the calendar's rule.
ALTER TABLE reserved_time
  ADD COLUMN part     smallint NOT NULL DEFAULT 0,
  ADD COLUMN seats    integer,
  ADD COLUMN capacity integer,
  ADD CONSTRAINT reserved_time_seats CHECK (seats BETWEEN 1 AND capacity),
  DROP CONSTRAINT reserved_time_pkey,
  ADD PRIMARY KEY (appointment_id, part);

-- What is used of resources: written with the events, like reserved_time, and read by those who list
-- slots. How much of it may be used at once is the rule of the resource's calendar.
CREATE TABLE reserved_resource (
  holder_id   uuid        NOT NULL, -- an appointment, or a meeting of a class
  resource_id uuid        NOT NULL,
  business_id uuid        NOT NULL,
  starts_at   timestamptz NOT NULL, -- with buffers
  ends_at     timestamptz NOT NULL CHECK (ends_at > starts_at),
  quantity    integer     NOT NULL CHECK (quantity > 0),
  PRIMARY KEY (holder_id, resource_id)
);
CREATE INDEX reserved_resource_starts ON reserved_resource (resource_id, starts_at); -- listing slots

GRANT SELECT, INSERT, UPDATE, DELETE ON reserved_resource TO apptremind_app;

-- Of a visit of several services, who does the others and which they are; and with which other visits
-- it was booked.
ALTER TABLE agenda.appointment
  ADD COLUMN also_staff    uuid[],
  ADD COLUMN also_services uuid[],
  ADD COLUMN series_id     uuid;
CREATE INDEX appointment_series ON agenda.appointment (series_id) WHERE series_id IS NOT NULL; -- the visits of a series
