use std::collections::{BTreeSet, HashMap};

use domain::{
    Aggregate, BusinessId, CalendarWeek, CustomerId, Decide, StaffId,
    business::Business,
    staff_calendar::{StaffCalendar, stream_id},
    staff_schedule::StaffSchedule,
    subscription::Subscription,
};
use sqlx::Row;
use streams::log::{CommitError, Histories, Loaded, Log, StreamKey};
use uuid::Uuid;

/// Calendar weeks and guests that are kept of one business.
const MOST_WEEKS: usize = 512;
const MOST_GUESTS: usize = 1_000;

/// What is known of one business, as it was when it was read, and with all that was decided since.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) business: Option<Loaded<Business>>,
    pub(crate) plan: Option<Loaded<Subscription>>,
    pub(crate) schedules: HashMap<StaffId, Loaded<StaffSchedule>>,
    pub(crate) weeks: HashMap<(StaffId, CalendarWeek), Loaded<StaffCalendar>>,
    /// By e-mail address; `None` for one that the business does not know.
    guests: HashMap<String, Option<CustomerId>>,
}

/// What a command has to know beside business and plan.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) schedules: BTreeSet<StaffId>,
    pub(crate) weeks: BTreeSet<(StaffId, CalendarWeek)>,
    pub(crate) guests: BTreeSet<String>,
}

impl State {
    /// Reads what is wanted and not known, all streams in one query.
    pub(crate) async fn load(
        &mut self,
        log: &Log,
        business_id: BusinessId,
        wanted: &Wanted,
    ) -> Result<(), CommitError> {
        if self.weeks.len() > MOST_WEEKS {
            self.weeks.clear();
        }
        let weeks: Vec<_> =
            wanted.weeks.iter().filter(|week| !self.weeks.contains_key(week)).collect();
        let schedules: Vec<_> =
            wanted.schedules.iter().filter(|id| !self.schedules.contains_key(id)).collect();
        let mut keys = Vec::new();
        if self.business.is_none() {
            keys.push(StreamKey::of::<Business>(business_id));
            keys.push(StreamKey::of::<Subscription>(business_id));
        }
        keys.extend(schedules.iter().map(StreamKey::of::<StaffSchedule>));
        keys.extend(weeks.iter().map(|(staff_id, week)| week_key(*staff_id, *week)));
        if !keys.is_empty() {
            let histories = log.load(business_id, &keys).await?;
            if self.business.is_none() {
                self.business = Some(histories.fold(&StreamKey::of::<Business>(business_id))?);
                self.plan = Some(histories.fold(&StreamKey::of::<Subscription>(business_id))?);
            }
            for id in schedules {
                self.schedules.insert(*id, histories.fold(&StreamKey::of::<StaffSchedule>(id))?);
            }
            for (staff_id, week) in weeks {
                let loaded = fold_week(&histories, *staff_id, *week)?;
                self.weeks.insert((*staff_id, *week), loaded);
            }
        }
        self.find_guests(log, business_id, &wanted.guests).await
    }

    async fn find_guests(
        &mut self,
        log: &Log,
        business_id: BusinessId,
        wanted: &BTreeSet<String>,
    ) -> Result<(), CommitError> {
        if self.guests.len() > MOST_GUESTS {
            self.guests.clear();
        }
        let asked: Vec<&String> =
            wanted.iter().filter(|email| !self.guests.contains_key(*email)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "SELECT asked.email, customer_id
               FROM unnest($2::text[]) AS asked (email)
               LEFT JOIN customer c ON c.business_id = $1 AND lower(c.email) = lower(asked.email)",
        )
        .bind(business_id.uuid())
        .bind(asked);
        let database = log.database();
        let rows = database.within(query.fetch_all(database.pool())).await?;
        for row in rows {
            let known: Option<Uuid> = row.try_get("customer_id")?;
            self.guests.insert(row.try_get("email")?, known.map(CustomerId::new));
        }
        Ok(())
    }

    /// A guest of this address, as far as was looked up.
    pub(crate) fn guest(&self, email: &str) -> Option<CustomerId> {
        self.guests.get(email).copied().flatten()
    }

    /// Takes in that a guest became known.
    pub(crate) fn greet(&mut self, email: String, customer_id: CustomerId) {
        self.guests.insert(email, Some(customer_id));
    }

    /// Takes in what was decided on a week.
    pub(crate) fn evolve_week(
        &mut self,
        week: (StaffId, CalendarWeek),
        events: Vec<<StaffCalendar as Aggregate>::Event>,
    ) {
        let Some(loaded) = self.weeks.get_mut(&week) else { return };
        for event in events {
            loaded.sequence += 1;
            loaded.state.evolve(event);
        }
    }
}

fn week_key(staff_id: StaffId, week: CalendarWeek) -> StreamKey {
    StreamKey::of::<StaffCalendar>(stream_id(staff_id, week))
}

fn fold_week(
    histories: &Histories,
    staff_id: StaffId,
    week: CalendarWeek,
) -> Result<Loaded<StaffCalendar>, CommitError> {
    histories.fold(&week_key(staff_id, week))
}
