-- Read models, each in a schema of its own, so that a rebuilt one can be swapped in.
-- They hold ids; names are joined when reading.

CREATE SCHEMA availability;
CREATE TABLE availability.business (
  business_id uuid  PRIMARY KEY,
  sequence    bigint NOT NULL,
  -- The folded Business aggregate: profile, policy, services, staff.
  state       jsonb NOT NULL
);
CREATE TABLE availability.working_hours (
  staff_id    uuid   PRIMARY KEY,
  business_id uuid   NOT NULL,
  version     bigint NOT NULL,
  hours       jsonb  NOT NULL
);
CREATE TABLE availability.busy (
  stream_id             text        NOT NULL, -- the calendar week that says so
  source_id             uuid        NOT NULL, -- the appointment or the time off
  kind                  text        NOT NULL CHECK (kind IN ('visit', 'time_off')),
  business_id           uuid        NOT NULL,
  staff_id              uuid        NOT NULL,
  starts_at             timestamptz NOT NULL,
  ends_at               timestamptz NOT NULL,
  buffer_before_minutes integer     NOT NULL,
  buffer_after_minutes  integer     NOT NULL,
  -- A visit across the cut of two weeks stands in both, and each week takes its own away.
  PRIMARY KEY (stream_id, source_id)
);
CREATE INDEX busy_staff_time ON availability.busy (staff_id, ends_at, starts_at); -- slots of a range

CREATE SCHEMA agenda;
CREATE TABLE agenda.appointment (
  appointment_id uuid        PRIMARY KEY,
  business_id    uuid        NOT NULL,
  staff_id       uuid        NOT NULL,
  service_id     uuid        NOT NULL,
  customer_id    uuid        NOT NULL,
  starts_at      timestamptz NOT NULL,
  ends_at        timestamptz NOT NULL,
  status         text        NOT NULL,
  price_amount   bigint      NOT NULL,
  price_currency text        NOT NULL,
  sequence       bigint      NOT NULL
);
CREATE INDEX appointment_time ON agenda.appointment (business_id, starts_at, appointment_id); -- lists

CREATE SCHEMA notifications;
CREATE TABLE notifications.notification (
  notification_id uuid        PRIMARY KEY,
  business_id     uuid        NOT NULL,
  appointment_id  uuid        NOT NULL,
  kind            text        NOT NULL,
  channel         text        NOT NULL,
  offset_minutes  integer     NOT NULL,
  due_at          timestamptz NOT NULL,
  status          text        NOT NULL,
  attempts        integer     NOT NULL,
  reason          text,
  sent_at         timestamptz,
  next_attempt_at timestamptz,
  sequence        bigint      NOT NULL
);
CREATE INDEX notification_appointment ON notifications.notification (appointment_id, due_at); -- evidence

GRANT USAGE ON SCHEMA availability, agenda, notifications TO apptremind_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA availability, agenda, notifications
  TO apptremind_app;
