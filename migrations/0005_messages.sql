-- The work table of the scheduler: what is to be sent, and who is at it. Not a read model: a rebuild
-- never touches it.

CREATE TABLE notification (
  notification_id uuid        PRIMARY KEY,
  business_id     uuid        NOT NULL,
  appointment_id  uuid        NOT NULL,
  kind            text        NOT NULL,
  channel         text        NOT NULL,
  offset_minutes  integer     NOT NULL,
  version         integer     NOT NULL,
  -- pending -> offered -> sending -> sent | failed | uncertain; or cancelled, expired, skipped.
  state           text        NOT NULL CHECK (state IN ('pending', 'offered', 'sending', 'sent',
                    'failed', 'uncertain', 'cancelled', 'expired', 'skipped')),
  due_at          timestamptz NOT NULL, -- of the first try
  next_at         timestamptz NOT NULL, -- of the next
  expires_at      timestamptz NOT NULL,
  attempts        integer     NOT NULL DEFAULT 0,
  offers          integer     NOT NULL DEFAULT 0,
  lease_until     timestamptz,
  lease_token     uuid,
  -- Set right before the message is handed over: from here on nobody else may send it.
  handed_over_at  timestamptz,
  last_answer     text, -- the provider's own words; personal, so not in events
  -- The request that all this follows from.
  correlation_id  uuid        NOT NULL,
  traceparent     text,
  sequence        bigint      NOT NULL, -- of the last event in its stream
  UNIQUE (appointment_id, kind, offset_minutes, channel, version)
);
CREATE INDEX notification_due ON notification (next_at) WHERE state = 'pending';           -- dispatcher
CREATE INDEX notification_lease ON notification (lease_until) WHERE state IN ('offered', 'sending'); -- recovery

GRANT SELECT, INSERT, UPDATE, DELETE ON notification TO apptremind_app;
