-- The event log: the only truth. Everything else can be rebuilt from it, but for personal data.

CREATE EXTENSION IF NOT EXISTS btree_gist;

-- What the application may do, whatever the name of the role that it signs in as.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'apptremind_app') THEN
    CREATE ROLE apptremind_app NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this server
END $$;

-- A superset of the table of cqrs-es, so that its tools read our streams.
CREATE TABLE events (
  position       bigserial   NOT NULL,
  transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
  business_id    uuid        NOT NULL,
  aggregate_type text        NOT NULL,
  aggregate_id   text        NOT NULL,
  sequence       bigint      NOT NULL CHECK (sequence > 0),
  event_id       uuid        NOT NULL,
  event_type     text        NOT NULL,
  event_version  text        NOT NULL,
  payload        jsonb       NOT NULL,
  metadata       jsonb       NOT NULL DEFAULT '{}',
  actor          text        NOT NULL,
  correlation_id uuid        NOT NULL,
  causation_id   uuid,
  traceparent    text,
  occurred_at    timestamptz NOT NULL,
  recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- The expected version: two writers of the same next event, and the second fails.
  PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
-- The feed: by transaction first, because positions become visible out of order.
CREATE INDEX events_feed ON events (transaction_id, position);

-- Raises AR001 when a stream that was read has a newer event by now.
CREATE FUNCTION guard_reads(types text[], ids text[], sequences bigint[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE changed record;
BEGIN
  SELECT seen.kind, seen.id INTO changed
    FROM unnest(types, ids, sequences) AS seen (kind, id, sequence)
    JOIN events e ON e.aggregate_type = seen.kind AND e.aggregate_id = seen.id
                 AND e.sequence = seen.sequence + 1
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'stream % % changed since it was read', changed.kind, changed.id
      USING ERRCODE = 'AR001';
  END IF;
  RETURN true;
END $$;

-- The second wall against double booking: even a fault in our own rules cannot get past it.
CREATE TABLE reserved_time (
  appointment_id        uuid      PRIMARY KEY,
  staff_id              uuid      NOT NULL,
  business_id           uuid      NOT NULL,
  during                tstzrange NOT NULL CHECK (NOT isempty(during)),
  buffer_before_minutes integer   NOT NULL,
  buffer_after_minutes  integer   NOT NULL,
  -- Without buffers, which are the calendar's rule. Deferrable, so that one statement may move rows.
  CONSTRAINT reserved_time_no_overlap
    EXCLUDE USING gist (staff_id WITH =, during WITH &&) DEFERRABLE INITIALLY IMMEDIATE
);

-- The answer to each request that named a key, kept for a week.
CREATE TABLE idempotency_key (
  business_id    uuid        NOT NULL,
  key            text        NOT NULL,
  request_hash   bytea       NOT NULL,
  answer         jsonb       NOT NULL,
  position       bigint      NOT NULL,
  transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
  created_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (business_id, key)
);
CREATE INDEX idempotency_key_age ON idempotency_key (created_at); -- the job that forgets old keys

-- Appointments made by a business in a UTC month.
CREATE TABLE monthly_usage (
  business_id uuid    NOT NULL,
  month       date    NOT NULL,
  used        integer NOT NULL,
  cap         integer NOT NULL,
  PRIMARY KEY (business_id, month),
  CONSTRAINT monthly_usage_within_cap CHECK (used <= cap)
);

-- Personal data: mutable, erasable, never in events.
CREATE TABLE customer (
  customer_id uuid        PRIMARY KEY,
  business_id uuid        NOT NULL,
  name        text        NOT NULL,
  email       text,
  phone       text,
  created_at  timestamptz NOT NULL DEFAULT now()
);
-- A guest is found again by their address.
CREATE UNIQUE INDEX customer_email ON customer (business_id, lower(email)) WHERE email IS NOT NULL;

-- What was given with one appointment: contact, and free text.
CREATE TABLE appointment_private (
  appointment_id uuid PRIMARY KEY,
  business_id    uuid NOT NULL,
  name           text NOT NULL,
  email          text,
  phone          text,
  timezone       text,
  notes          text,
  cancel_reason  text
);

CREATE TABLE staff_private (
  staff_id    uuid PRIMARY KEY,
  business_id uuid NOT NULL,
  email       text
);

-- Where to find a time off by its id, and why somebody is away, which is personal.
CREATE TABLE time_off_private (
  time_off_id uuid        PRIMARY KEY,
  business_id uuid        NOT NULL,
  staff_id    uuid        NOT NULL,
  starts_at   timestamptz NOT NULL,
  ends_at     timestamptz NOT NULL,
  reason      text
);

-- Which business a public id or handle belongs to. Keys: 'handle:<handle>', 'staff_..', 'svc_..'.
CREATE TABLE directory (
  key         text PRIMARY KEY,
  business_id uuid NOT NULL
);
CREATE INDEX directory_business ON directory (business_id); -- the handle of a business

GRANT USAGE ON SCHEMA public TO apptremind_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO apptremind_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO apptremind_app;
-- Events are never changed.
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM apptremind_app;
