-- A session that was opened from another one, to work in another business, lasts no longer than that and ends
-- with it.

-- The sign-in that it comes from; null when it is one itself, as all are that processes of before this write.
ALTER TABLE session ADD COLUMN root_id uuid;
CREATE INDEX session_root ON session (coalesce(root_id, session_id)); -- they end together
