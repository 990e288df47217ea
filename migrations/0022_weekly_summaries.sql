-- When owners are told next how their week went: work of the scheduler, a row for each business.

CREATE TABLE weekly_summary (
  business_id uuid        PRIMARY KEY,
  week        date,                           -- the Monday of the week that is told of next; null: not known yet
  next_at     timestamptz NOT NULL,           -- when that is due
  -- False: the business is new or may have other clocks, and the scheduler says anew when the week is due.
  computed    boolean     NOT NULL DEFAULT false,
  CHECK (extract(isodow FROM week) = 1)
);
CREATE INDEX weekly_summary_next ON weekly_summary (next_at); -- whose turn it is

ALTER TABLE weekly_summary ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON weekly_summary TO apptremind_app USING (business_id =
  (SELECT nullif(current_setting('apptremind.business_id', true), '')::uuid));
CREATE POLICY system ON weekly_summary TO apptremind_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON weekly_summary TO apptremind_system;

COMMENT ON COLUMN notification.appointment_id IS
  'What the message is about: an appointment; of mails about accounts the reset or the invitation; of those about a week the business, and version is then the number of the week';
