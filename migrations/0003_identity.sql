-- Who signs in. Addresses and hashes live here and never in events.

CREATE TABLE app_user (
  user_id       uuid        PRIMARY KEY,
  email         text        NOT NULL,
  password_hash text        NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX app_user_email ON app_user (lower(email)); -- one account an address

CREATE TABLE membership (
  user_id     uuid NOT NULL REFERENCES app_user ON DELETE CASCADE,
  business_id uuid NOT NULL,
  role        text NOT NULL CHECK (role IN ('owner', 'staff')),
  PRIMARY KEY (user_id, business_id)
);

CREATE TABLE refresh_token (
  token_hash  bytea       PRIMARY KEY,
  family      uuid        NOT NULL,
  user_id     uuid        NOT NULL REFERENCES app_user ON DELETE CASCADE,
  business_id uuid        NOT NULL,
  expires_at  timestamptz NOT NULL,
  spent_at    timestamptz
);
CREATE INDEX refresh_token_family ON refresh_token (family);      -- revoking a family
CREATE INDEX refresh_token_expiry ON refresh_token (expires_at);  -- the job that forgets old tokens

GRANT SELECT, INSERT, UPDATE, DELETE ON app_user, membership, refresh_token TO apptremind_app;
