-- A session that was opened from another one, to work in another business, lasts no longer than that and ends
-- with it.

-- The sign-in that a session comes from; its own id, unless it was opened from another session.
ALTER TABLE session ADD COLUMN root_id uuid;
UPDATE session SET root_id = session_id;
ALTER TABLE session ALTER COLUMN root_id SET NOT NULL;
CREATE INDEX session_root ON session (root_id); -- they end together
