use domain::{
    BusinessId, Decide, FieldError, Fields, ServiceId, StaffId, TimeSlot, WaitlistId, Zone,
    availability,
    business::{Business, BusinessState},
    waitlist::{EntryStatus, WaitlistCommand, WaitlistEntry, Wish},
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use streams::{
    CommandContext, Cursor,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};

use super::WaitlistRefused;
use crate::{
    CommandError, Commands, Done, again::until_decided, appointment::Guest, error::Attempt,
    idempotency::IdempotencyKey,
};

/// In which stretch a visit is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitRange {
    /// Between two instants.
    Instants {
        /// The first.
        from: Timestamp,
        /// The first after it.
        to: Timestamp,
    },
    /// From one local date of the business to another, both included.
    Dates {
        /// The first date.
        first: Date,
        /// The last date.
        last: Date,
    },
}

/// A wish to wait.
#[derive(Debug, Clone)]
pub struct JoinWaitlist {
    /// Chosen by the caller.
    pub waitlist_id: WaitlistId,
    /// For what.
    pub service_id: ServiceId,
    /// With whom; `None` takes anybody.
    pub staff_id: Option<StaffId>,
    /// When.
    pub range: WaitRange,
    /// Who.
    pub guest: Guest,
    /// The guest's own zone, for their mails.
    pub timezone: Option<Zone>,
    /// In the guest's words.
    pub notes: Option<String>,
}

/// An entry, as its guest is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The entry.
    pub waitlist_id: WaitlistId,
    /// Where it is.
    pub status: EntryStatus,
    /// What the guest waits for.
    pub wish: Wish,
}

/// Entries of one business that wait or are offered something.
const MOST: i64 = 500;
/// Of those, with one address.
const MOST_OF_ONE: i64 = 10;
/// The longest range, in days.
const MAX_DAYS: i64 = 62;

type Answer = Result<Done<Joined>, CommandError<WaitlistRefused>>;

impl Commands {
    /// Lets a guest wait for a time to become free.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(waitlist.id = %join.waitlist_id))]
    pub async fn join_waitlist(
        &self,
        join: &JoinWaitlist,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Answer {
        validate(join).map_err(|errors| CommandError::Refused(WaitlistRefused::Invalid(errors)))?;
        let _entered = self.enter(context.business_id, key)?;
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_join(join, key, context);
        until_decided("join_waitlist", attempt, |_| None).await?
    }

    async fn try_join(
        &self,
        join: &JoinWaitlist,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Result<Answer, Attempt<WaitlistRefused>> {
        let keys: Vec<&IdempotencyKey> = key.into_iter().collect();
        if let Some(answer) = self.stored(context.business_id, &keys).await?.replay(key) {
            return Ok(answer);
        }
        let stream = StreamKey::of::<WaitlistEntry>(join.waitlist_id);
        let business_stream = StreamKey::of::<Business>(context.business_id);
        let read = [stream.clone(), business_stream.clone()];
        let histories = self.log.load(context.business_id, &read).await?;
        let entry: Loaded<WaitlistEntry> = histories.fold(&stream)?;
        let business: Loaded<Business> = histories.fold(&business_stream)?;
        let known = business.state.registered();
        let known = known.ok_or(Attempt::Refused(WaitlistRefused::UnknownService))?;
        let wish = wish(known, join).map_err(Attempt::Refused)?;
        let command = WaitlistCommand::Join { wish, now: context.now };
        let events = entry.state.decide(command).map_err(|error| Attempt::Refused(error.into()))?;
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&entry, events)?;
        unit.guard(&business);
        let status = EntryStatus::Waiting;
        let joined = Joined { waitlist_id: join.waitlist_id, status, wish };
        if let Some(key) = key {
            let answer =
                serde_json::to_value(&joined).map_err(|error| CommitError::Store(error.into()))?;
            unit.answer(key.row(answer));
        }
        let mut writing = self.log.begin(context.business_id).await?;
        // Reading only, so the events are still the first that is written.
        room(writing.connection(), context.business_id, join).await?;
        let position = writing.append(&unit).await?;
        insert(writing.connection(), context, join, &wish, position).await?;
        writing.commit().await?;
        Ok(Ok(Done::new(joined, position)))
    }
}

fn validate(join: &JoinWaitlist) -> Result<(), Vec<FieldError>> {
    let mut errors = join.guest.validate().err().unwrap_or_default();
    let mut fields = Fields::default();
    fields.check(
        join.guest.email.is_some(),
        "customer.email",
        "is needed: what becomes free is offered by mail",
    );
    if let Some(notes) = &join.notes {
        fields.note("notes", notes, 2_000);
    }
    errors.extend(fields.done().err().unwrap_or_default());
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What the guest waits for, if the business has it.
fn wish(business: &BusinessState, join: &JoinWaitlist) -> Result<Wish, WaitlistRefused> {
    let service = business.services.get(&join.service_id);
    let service = service.ok_or(WaitlistRefused::UnknownService)?;
    if join.staff_id.is_some_and(|id| !business.staff.contains_key(&id)) {
        return Err(WaitlistRefused::UnknownStaff);
    }
    let wanted = |id: &StaffId| join.staff_id.is_none_or(|staff_id| staff_id == *id);
    if !business.staff_for(join.service_id).any(|id| wanted(&id)) {
        return Err(WaitlistRefused::NotOffered);
    }
    if service.value.requires_approval {
        return Err(WaitlistRefused::NeedsApproval);
    }
    let zone = &business.profile.value.timezone;
    let (from, to) = match join.range {
        WaitRange::Instants { from, to } => (from, to),
        WaitRange::Dates { first, last } => {
            let after = last.checked_add(1.day()).unwrap_or(last);
            let day = |date| availability::start_of_day(zone, date);
            (day(first), day(after))
        }
    };
    // Clocks that change in the range make it an hour longer.
    let longest = SignedDuration::from_hours(MAX_DAYS * 24 + 2);
    let range = TimeSlot::try_new(from, to).ok();
    let range = range.filter(|range| range.start().duration_until(range.end()) <= longest);
    let Some(range) = range else {
        let mut fields = Fields::default();
        fields.check(false, "to", format!("must be after from, at most {MAX_DAYS} days"));
        return Err(WaitlistRefused::Invalid(fields.done().err().unwrap_or_default()));
    };
    Ok(Wish { service_id: join.service_id, staff_id: join.staff_id, range })
}

/// Whether one more may wait. Those who join one business at the same time take turns, in whatever
/// process: what is counted is true until this one is in.
async fn room(
    connection: &mut PgConnection,
    business_id: BusinessId,
    join: &JoinWaitlist,
) -> Result<(), Attempt<WaitlistRefused>> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('waitlist ' || $1::text, 0))")
        .bind(business_id.uuid())
        .execute(&mut *connection)
        .await?;
    let (all, of_one): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE lower(p.email) = lower($2))
           FROM waitlist_entry e JOIN waitlist_private p USING (waitlist_id)
          WHERE e.business_id = $1 AND e.status IN ('waiting', 'offered')",
    )
    .bind(business_id.uuid())
    .bind(join.guest.email.as_deref())
    .fetch_one(connection)
    .await?;
    if all >= MOST {
        return Err(Attempt::Refused(WaitlistRefused::Full { most: MOST }));
    }
    if of_one >= MOST_OF_ONE {
        return Err(Attempt::Refused(WaitlistRefused::WaitsTooOften { most: MOST_OF_ONE }));
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    context: &CommandContext,
    join: &JoinWaitlist,
    wish: &Wish,
    position: Cursor,
) -> Result<(), CommitError> {
    sqlx::query(
        "WITH given AS (
           INSERT INTO waitlist_private (waitlist_id, business_id, name, email, phone, timezone, notes)
           VALUES ($1, $2, $9, $10, $11, $12, $13))
         INSERT INTO waitlist_entry (waitlist_id, business_id, place, service_id, staff_id, from_at,
                                     until_at, joined_at, status)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting')",
    )
    .bind(join.waitlist_id.uuid())
    .bind(context.business_id.uuid())
    .bind(position.position)
    .bind(wish.service_id.uuid())
    .bind(wish.staff_id.map(StaffId::uuid))
    .bind(wish.range.start().to_sqlx())
    .bind(wish.range.end().to_sqlx())
    .bind(context.now.to_sqlx())
    .bind(&join.guest.name)
    .bind(join.guest.email.as_deref())
    .bind(join.guest.phone.as_deref())
    .bind(join.timezone.as_ref().map(Zone::name))
    .bind(join.notes.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}
