-- Requests that wait for the answer of the business: written in the statement that books them, and
-- taken away in the one that ends them. The scheduler writes down when one has expired.
CREATE TABLE pending_request (
  appointment_id uuid        PRIMARY KEY,
  business_id    uuid        NOT NULL,
  expires_at     timestamptz NOT NULL
);
CREATE INDEX pending_request_expiry ON pending_request (expires_at); -- what has expired

GRANT SELECT, INSERT, UPDATE, DELETE ON pending_request TO apptremind_app;
