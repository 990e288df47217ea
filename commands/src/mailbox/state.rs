use std::collections::{BTreeSet, HashMap};

use domain::{
    Aggregate, BusinessId, CalendarWeek, Decide, ResourceId, StaffId, Zone,
    business::{Business, BusinessState},
    resource_calendar::{self, ResourceCalendar},
    staff_calendar::{StaffCalendar, stream_id},
    staff_schedule::StaffSchedule,
    subscription::Subscription,
};
use jiff::civil::Date;
use streams::log::{CommitError, Histories, Loaded, Log, StreamKey};
use uuid::Uuid;

use super::{CountedVisit, CountedWeek};

/// Calendar weeks that are kept of one business.
const MOST_WEEKS: usize = 512;

/// What is known of one business, as it was when it was read, and with all that was decided since.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) business: Option<Loaded<Business>>,
    pub(crate) plan: Option<Loaded<Subscription>>,
    pub(crate) schedules: HashMap<StaffId, Loaded<StaffSchedule>>,
    pub(crate) weeks: HashMap<(StaffId, CalendarWeek), Loaded<StaffCalendar>>,
    pub(crate) stock: HashMap<(ResourceId, CalendarWeek), Loaded<ResourceCalendar>>,
    /// By Monday, in the zone of the business; only where limits are in force.
    pub(crate) counted: HashMap<Date, CountedWeek>,
    /// What is not counted: the visit that is about to be moved, and the meeting that ends with it.
    pub(crate) without: Vec<Uuid>,
}

/// What a command has to know beside business and plan.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) schedules: BTreeSet<StaffId>,
    pub(crate) weeks: BTreeSet<(StaffId, CalendarWeek)>,
    pub(crate) stock: BTreeSet<(ResourceId, CalendarWeek)>,
    /// Mondays of the weeks whose visits are counted.
    pub(crate) counted: BTreeSet<Date>,
}

impl State {
    /// Reads what is wanted and not known, all streams in one query.
    pub(crate) async fn load(
        &mut self,
        log: &Log,
        business_id: BusinessId,
        wanted: &Wanted,
    ) -> Result<(), CommitError> {
        // Never what was read for the same command, which then reads on.
        if self.weeks.len() > MOST_WEEKS && !wanted.weeks.is_empty() {
            self.weeks.clear();
        }
        if self.stock.len() > MOST_WEEKS && !wanted.stock.is_empty() {
            self.stock.clear();
        }
        let weeks: Vec<_> =
            wanted.weeks.iter().filter(|week| !self.weeks.contains_key(week)).collect();
        let schedules: Vec<_> =
            wanted.schedules.iter().filter(|id| !self.schedules.contains_key(id)).collect();
        let stock: Vec<_> =
            wanted.stock.iter().filter(|week| !self.stock.contains_key(week)).collect();
        let mut keys = Vec::new();
        if self.business.is_none() {
            keys.push(StreamKey::of::<Business>(business_id));
            keys.push(StreamKey::of::<Subscription>(business_id));
        }
        keys.extend(schedules.iter().map(StreamKey::of::<StaffSchedule>));
        keys.extend(weeks.iter().map(|(staff_id, week)| week_key(*staff_id, *week)));
        keys.extend(stock.iter().map(|(id, week)| stock_key(*id, *week)));
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
            for (id, week) in stock {
                self.stock.insert((*id, *week), histories.fold(&stock_key(*id, *week))?);
            }
        }
        self.count(log, business_id, &wanted.counted).await
    }

    /// After the streams: what is counted is then at least as new as what it is decided with.
    async fn count(
        &mut self,
        log: &Log,
        business_id: BusinessId,
        wanted: &BTreeSet<Date>,
    ) -> Result<(), CommitError> {
        if self.counted.len() > MOST_WEEKS {
            self.counted.clear();
        }
        let Some(zone) = self.zone().cloned() else { return Ok(()) };
        for monday in wanted {
            if !self.counted.contains_key(monday) {
                let week = CountedWeek::load(log, business_id, (&zone, *monday), &self.without);
                let week = week.await?;
                self.counted.insert(*monday, week);
            }
        }
        Ok(())
    }

    /// Takes in that a visit is booked that counts.
    pub(crate) fn evolve_counted(&mut self, visit: &CountedVisit) {
        let Some(zone) = self.zone().cloned() else { return };
        if let Some(week) = self.counted.get_mut(&visit.monday) {
            week.count(&zone, visit);
        }
    }

    fn zone(&self) -> Option<&Zone> {
        Some(&self.registered()?.profile.value.timezone)
    }

    pub(crate) fn registered(&self) -> Option<&BusinessState> {
        self.business.as_ref()?.state.registered()
    }

    /// Takes in what was decided on a resource.
    pub(crate) fn evolve_stock(
        &mut self,
        week: (ResourceId, CalendarWeek),
        events: Vec<<ResourceCalendar as Aggregate>::Event>,
    ) {
        let Some(loaded) = self.stock.get_mut(&week) else { return };
        for event in events {
            loaded.sequence += 1;
            loaded.state.evolve(event);
        }
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

fn stock_key(resource_id: ResourceId, week: CalendarWeek) -> StreamKey {
    StreamKey::of::<ResourceCalendar>(resource_calendar::stream_id(resource_id, week))
}

fn fold_week(
    histories: &Histories,
    staff_id: StaffId,
    week: CalendarWeek,
) -> Result<Loaded<StaffCalendar>, CommitError> {
    histories.fold(&week_key(staff_id, week))
}
