-- Sessions, members of several businesses, invitations, keys of programs, and the keys that sign tokens.

-- What somebody is in a business: what they may do, and whose calendar is theirs.
ALTER TABLE membership
  DROP CONSTRAINT membership_role_check,
  ADD CONSTRAINT membership_role_check CHECK (role IN ('owner', 'admin', 'staff')),
  ADD COLUMN staff_id uuid,
  ADD COLUMN joined_at timestamptz NOT NULL DEFAULT now();

CREATE UNIQUE INDEX membership_staff ON membership (business_id, staff_id)
  WHERE staff_id IS NOT NULL; -- a calendar is one person's

-- The business in which somebody was last: where they are when they sign in again.
ALTER TABLE app_user ADD COLUMN last_business_id uuid;

-- A sign-in that lasts. From where somebody signed in is personal, so it is here and not in events.
CREATE TABLE session (
  session_id  uuid        PRIMARY KEY,
  user_id     uuid        NOT NULL REFERENCES app_user ON DELETE CASCADE,
  business_id uuid        NOT NULL,
  opened_at   timestamptz NOT NULL DEFAULT now(),
  used_at     timestamptz NOT NULL DEFAULT now(),
  expires_at  timestamptz NOT NULL, -- whatever happens
  user_agent  text,
  network     text, -- the address without its last part
  ended_at    timestamptz,
  voided_at   timestamptz -- access tokens from before then are good no more
);
CREATE INDEX session_of_user ON session (user_id, opened_at);                          -- lists
CREATE INDEX session_voided ON session (voided_at) WHERE voided_at IS NOT NULL;     -- whose tokens are void
CREATE INDEX session_expiry ON session (expires_at);                                -- the job that forgets
CREATE INDEX session_business ON session (business_id, user_id) WHERE ended_at IS NULL; -- who leaves a business

INSERT INTO session (session_id, user_id, business_id, expires_at)
SELECT family, min(user_id::text)::uuid, min(business_id::text)::uuid, max(expires_at)
  FROM refresh_token GROUP BY family;

-- A family of refresh tokens is a session. Who spent a token, and what the next one is made of together
-- with it: whoever reads this table alone can compute neither.
ALTER TABLE refresh_token
  ADD CONSTRAINT refresh_token_session FOREIGN KEY (family) REFERENCES session ON DELETE CASCADE,
  ADD COLUMN spent_by bytea,
  ADD COLUMN next_salt bytea;

-- Somebody asked for a new password, by an address that may be nobody's. A job turns it into a link.
CREATE TABLE reset_wish (
  wish_id        uuid        PRIMARY KEY,
  email          text        NOT NULL,
  asked_at       timestamptz NOT NULL DEFAULT now(),
  correlation_id uuid        NOT NULL,
  traceparent    text
);
CREATE INDEX reset_wish_age ON reset_wish (asked_at); -- the job takes the oldest first

-- A link by which a password is replaced, once.
CREATE TABLE password_reset (
  reset_id   uuid        PRIMARY KEY,
  user_id    uuid        NOT NULL REFERENCES app_user ON DELETE CASCADE,
  token_hash bytea       NOT NULL UNIQUE,
  expires_at timestamptz NOT NULL,
  spent_at   timestamptz
);
CREATE INDEX password_reset_user ON password_reset (user_id);      -- a new password ends the others
CREATE INDEX password_reset_expiry ON password_reset (expires_at); -- the job that forgets

-- Somebody was asked to join a business.
CREATE TABLE invitation (
  invitation_id uuid        PRIMARY KEY,
  business_id   uuid        NOT NULL,
  email         text        NOT NULL,
  role          text        NOT NULL CHECK (role IN ('owner', 'admin', 'staff')),
  staff_id      uuid,
  token_hash    bytea       NOT NULL UNIQUE,
  sent_at       timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz NOT NULL,
  spent_at      timestamptz -- accepted or withdrawn
);
CREATE INDEX invitation_business ON invitation (business_id, sent_at); -- lists
CREATE INDEX invitation_expiry ON invitation (expires_at);             -- the job that forgets

-- Keys by which programs call the API. Only the hash is kept.
CREATE TABLE api_key (
  key_id      uuid        PRIMARY KEY,
  business_id uuid        NOT NULL,
  name        text        NOT NULL,
  secret_hash bytea       NOT NULL,
  scopes      text[]      NOT NULL,
  created_by  uuid        NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  expires_at  timestamptz,
  used_at     timestamptz,
  revoked_at  timestamptz
);
CREATE INDEX api_key_business ON api_key (business_id, created_at); -- lists

-- The keys that sign access tokens. None of them is here: each is derived from the secret of the settings
-- (`root` names it) and the salt.
CREATE TABLE signing_key (
  kid        text        PRIMARY KEY,
  root       text        NOT NULL,
  salt       bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  signs_from timestamptz NOT NULL,
  retires_at timestamptz -- it verifies until then; never while it is the newest
);

-- What was used of a limit that all processes share. The subject is a hash: nobody can read from it who
-- tried to sign in.
CREATE TABLE quota (
  scope     text        NOT NULL COLLATE "C",
  subject   bytea       NOT NULL,
  opened_at timestamptz NOT NULL,
  ends_at   timestamptz NOT NULL,
  used      integer     NOT NULL,
  PRIMARY KEY (scope, subject)
);
CREATE INDEX quota_ends ON quota (ends_at); -- the job that forgets

-- Mails about accounts belong to no appointment.
ALTER TABLE notifications.notification ALTER COLUMN appointment_id DROP NOT NULL;
COMMENT ON COLUMN notification.appointment_id IS
  'What the message is about: an appointment; of mails about accounts the reset or the invitation';

-- Who did what that matters: a read model. Who and what is read from the log itself.
CREATE SCHEMA audit;
CREATE TABLE audit.entry (
  event_id       uuid        PRIMARY KEY,
  business_id    uuid        NOT NULL,
  aggregate_type text        NOT NULL COLLATE "C",
  aggregate_id   text        NOT NULL COLLATE "C",
  sequence       bigint      NOT NULL,
  event_type     text        NOT NULL COLLATE "C",
  at             timestamptz NOT NULL,
  position       bigint      NOT NULL
);
CREATE INDEX entry_time ON audit.entry (business_id, at, position); -- lists
GRANT USAGE ON SCHEMA audit TO apptremind_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON audit.entry TO apptremind_app;
