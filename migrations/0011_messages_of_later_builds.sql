-- From which place of the feed on messages of a kind are planned. What was decided before a build that
-- knows the kind has no such message, and gets none when the feed is read again.

CREATE TABLE message_kind_since (
  kind           text   PRIMARY KEY,
  transaction_id xid8   NOT NULL,
  position       bigint NOT NULL
);

GRANT SELECT, INSERT ON message_kind_since TO apptremind_app;

CREATE INDEX membership_business ON membership (business_id, role); -- whom to tell
