use domain::{
    AppointmentId, CalendarWeek, Decide, FieldError, Fields, StaffId, TimeOffId, TimeSlot,
    business::Business,
    staff_calendar::{
        BusyKind, StaffCalendar, StaffCalendarCommand, StaffCalendarError, stream_id,
    },
};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::Row;
use streams::{
    CommandContext, Cursor,
    log::{Loaded, StreamKey, UnitOfWork},
};
use uuid::Uuid;

use crate::{CommandError, Commands, Done, again::until_decided, error::Attempt};

/// The longest time off in one piece.
const MAX_DAYS: i64 = 366;

/// An absence to be entered.
#[derive(Debug, Clone)]
pub struct AddTimeOff {
    /// Who is away.
    pub staff_id: StaffId,
    /// Chosen by the caller, so that a retry adds it once.
    pub time_off_id: TimeOffId,
    /// When.
    pub slot: TimeSlot,
    /// In their own words: personal, so not in events.
    pub reason: Option<String>,
}

/// An absence was entered.
#[derive(Debug, Clone)]
pub struct TimeOffAdded {
    /// Visits that are booked in that time, and stay booked.
    pub affected: Vec<AppointmentId>,
}

/// Why an absence was not entered or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeOffRefused {
    /// No such staff member, or no such time off of theirs.
    #[error("not found")]
    NotFound,
    /// A field breaks a rule.
    #[error("the time off is not valid")]
    Invalid(Vec<FieldError>),
    /// The calendar's own rule.
    #[error(transparent)]
    Calendar(#[from] StaffCalendarError),
}

/// The calendar streams of one staff member that a span touches.
pub(crate) fn week_keys(staff_id: StaffId, span: &TimeSlot) -> Vec<StreamKey> {
    CalendarWeek::touched_by(span)
        .map(|week| StreamKey::of::<StaffCalendar>(stream_id(staff_id, week)))
        .collect()
}

impl Commands {
    /// Enters an absence. Visits booked in that time stay booked and are named.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(staff.id = %add.staff_id))]
    pub async fn add_time_off(
        &self,
        add: &AddTimeOff,
        context: &CommandContext,
    ) -> Result<Done<TimeOffAdded>, CommandError<TimeOffRefused>> {
        let mut fields = Fields::default();
        let longest = SignedDuration::from_hours(24 * MAX_DAYS);
        let length = add.slot.start().duration_until(add.slot.end());
        fields.check(
            length <= longest,
            "end",
            format!("must be at most {MAX_DAYS} days after start"),
        );
        if let Some(reason) = &add.reason {
            fields.note("reason", reason, 500);
        }
        let refused = |errors| CommandError::Refused(TimeOffRefused::Invalid(errors));
        fields.done().map_err(refused)?;
        let _turn = self.turn(context.business_id).await?;
        until_decided("add_time_off", || self.try_add(add, context), |_| None).await
    }

    async fn try_add(
        &self,
        add: &AddTimeOff,
        context: &CommandContext,
    ) -> Result<Done<TimeOffAdded>, Attempt<TimeOffRefused>> {
        let business_key = StreamKey::of::<Business>(context.business_id);
        let weeks = week_keys(add.staff_id, &add.slot);
        let mut keys = weeks.clone();
        keys.push(business_key.clone());
        let histories = self.log.load(context.business_id, &keys).await?;
        let business: Loaded<Business> = histories.fold(&business_key)?;
        if !business.state.registered().is_some_and(|b| b.staff.contains_key(&add.staff_id)) {
            return Err(Attempt::Refused(TimeOffRefused::NotFound));
        }
        let mut unit = UnitOfWork::new(context.clone());
        let mut affected = Vec::new();
        for key in &weeks {
            let week: Loaded<StaffCalendar> = histories.fold(key)?;
            let command =
                StaffCalendarCommand::AddTimeOff { time_off_id: add.time_off_id, slot: add.slot };
            let events =
                week.state.decide(command).map_err(|error| Attempt::Refused(error.into()))?;
            unit.append(&week, events)?;
            for busy in week.state.busy().filter(|busy| busy.slot.overlaps(&add.slot)) {
                match busy.kind {
                    BusyKind::Visit(appointment_id) => affected.push(appointment_id),
                    BusyKind::Class(class) => {
                        affected.extend(week.state.guests_of(class.session_id));
                    }
                    BusyKind::TimeOff(_) => {}
                }
            }
        }
        affected.sort_unstable();
        affected.dedup();
        if unit.is_empty() {
            return Ok(Done::new(TimeOffAdded { affected }, Cursor::START));
        }
        unit.guard(&business);
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        sqlx::query(
            "INSERT INTO time_off_private
                    (time_off_id, business_id, staff_id, starts_at, ends_at, reason)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(add.time_off_id.uuid())
        .bind(context.business_id.uuid())
        .bind(add.staff_id.uuid())
        .bind(add.slot.start().to_sqlx())
        .bind(add.slot.end().to_sqlx())
        .bind(add.reason.as_deref())
        .execute(writing.connection())
        .await?;
        writing.commit().await?;
        Ok(Done::new(TimeOffAdded { affected }, position))
    }

    /// Takes an absence back.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(staff.id = %staff_id))]
    pub async fn remove_time_off(
        &self,
        staff_id: StaffId,
        time_off_id: TimeOffId,
        context: &CommandContext,
    ) -> Result<Done<()>, CommandError<TimeOffRefused>> {
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_remove(staff_id, time_off_id, context);
        until_decided("remove_time_off", attempt, |_| None).await
    }

    async fn try_remove(
        &self,
        staff_id: StaffId,
        time_off_id: TimeOffId,
        context: &CommandContext,
    ) -> Result<Done<()>, Attempt<TimeOffRefused>> {
        let slot = self.find_time_off(staff_id, time_off_id, context).await?;
        let weeks = week_keys(staff_id, &slot);
        let histories = self.log.load(context.business_id, &weeks).await?;
        let mut unit = UnitOfWork::new(context.clone());
        for key in &weeks {
            let week: Loaded<StaffCalendar> = histories.fold(key)?;
            let command = StaffCalendarCommand::RemoveTimeOff { time_off_id };
            let events =
                week.state.decide(command).map_err(|error| Attempt::Refused(error.into()))?;
            unit.append(&week, events)?;
        }
        if unit.is_empty() {
            return Ok(Done::new((), Cursor::START));
        }
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        sqlx::query("DELETE FROM time_off_private WHERE time_off_id = $1 AND business_id = $2")
            .bind(time_off_id.uuid())
            .bind(context.business_id.uuid())
            .execute(writing.connection())
            .await?;
        writing.commit().await?;
        Ok(Done::new((), position))
    }

    async fn find_time_off(
        &self,
        staff_id: StaffId,
        time_off_id: TimeOffId,
        context: &CommandContext,
    ) -> Result<TimeSlot, Attempt<TimeOffRefused>> {
        let row = sqlx::query(
            "SELECT starts_at, ends_at FROM time_off_private
              WHERE time_off_id = $1 AND staff_id = $2 AND business_id = $3",
        )
        .bind(time_off_id.uuid())
        .bind(staff_id.uuid() as Uuid)
        .bind(context.business_id.uuid())
        .fetch_optional(&mut *self.log.database().tenant(context.business_id).await?)
        .await?;
        let row = row.ok_or(Attempt::Refused(TimeOffRefused::NotFound))?;
        let at = |column: &str| -> Result<Timestamp, sqlx::Error> {
            Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
        };
        TimeSlot::try_new(at("starts_at")?, at("ends_at")?)
            .map_err(|_empty| Attempt::Refused(TimeOffRefused::NotFound))
    }
}
