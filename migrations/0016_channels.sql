-- Text messages beside mails; what providers say later of what they took; the same reminder planned again.

ALTER TABLE notification
  ADD COLUMN round       integer NOT NULL DEFAULT 0, -- how often it was planned again
  ADD COLUMN provider    text, -- who took it
  ADD COLUMN provider_id text; -- and what they call it

ALTER TABLE notification DROP CONSTRAINT notification_state_check;
ALTER TABLE notification ADD CONSTRAINT notification_state_check CHECK (state IN ('pending', 'offered',
  'sending', 'sent', 'delivered', 'failed', 'uncertain', 'cancelled', 'expired', 'skipped'));

-- Its name was cut off by Postgres.
DO $$
BEGIN
  EXECUTE (SELECT format('ALTER TABLE notification DROP CONSTRAINT %I', conname)
             FROM pg_constraint WHERE conrelid = 'notification'::regclass AND contype = 'u');
END $$;
CREATE UNIQUE INDEX notification_once
  ON notification (appointment_id, kind, offset_minutes, channel, version, round);

ALTER TABLE notifications.notification
  ADD COLUMN moved_from   timestamptz, -- when it would have been due, but for quiet hours
  ADD COLUMN delivered_at timestamptz,
  ADD COLUMN provider     text,
  ADD COLUMN provider_id  text;
