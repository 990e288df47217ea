//! Visits that are booked together by one rule: all of them, or none.

use domain::{
    AppointmentId, Decide, FieldError, SeriesId, Zone,
    appointment::InSeries,
    series::{Series, SeriesCommand},
};
use jiff::{Timestamp, civil::DateTime};
use serde::{Deserialize, Serialize};
use streams::{
    CommandContext, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};

use super::{
    BookAppointment, Booked, BookingRefused, OfSeries, Start, book,
    decide::{self, Decision},
    holding::Kept,
    recurrence,
};
use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    error::Attempt,
    idempotency::IdempotencyKey,
    mailbox::{Guests, State, Wanted},
};

/// A wish to book a series.
#[derive(Debug, Clone)]
pub struct BookSeries {
    /// Its first visit; the others are like it.
    pub first: BookAppointment,
    /// When the others are (RFC 5545).
    pub rule: String,
}

/// A booked series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesBooked {
    /// Which.
    pub series_id: SeriesId,
    /// In the order of their starts.
    pub appointments: Vec<Booked>,
}

/// A visit of a series that cannot be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// Its place in the series, counted from one.
    pub number: u32,
    /// When it was to be, on the clock of the business.
    pub local_start: DateTime,
    /// Why not.
    pub refused: BookingRefused,
}

/// Why a series was not booked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesRefused {
    /// What would be refused for a single visit, too.
    #[error(transparent)]
    Booking(#[from] BookingRefused),
    /// Some of its visits cannot be booked, so none is.
    #[error("{} of the visits cannot be booked, so none is", .0.len())]
    Clashes(Vec<Clash>),
}

type Tried<T> = Result<T, Attempt<SeriesRefused>>;
/// Perhaps a stored one.
type Answer = Result<Done<SeriesBooked>, CommandError<SeriesRefused>>;

fn refuse<T>(refused: impl Into<SeriesRefused>) -> Tried<T> {
    Err(Attempt::Refused(refused.into()))
}

fn booking(attempt: Attempt<BookingRefused>) -> Attempt<SeriesRefused> {
    match attempt {
        Attempt::Refused(refused) => Attempt::Refused(refused.into()),
        Attempt::Commit(error) => Attempt::Commit(error),
    }
}

fn invalid(error: FieldError) -> BookingRefused {
    BookingRefused::Invalid(vec![error])
}

impl Commands {
    /// Books every visit of a series in one statement, or none of them.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %wish.first.appointment_id))]
    pub async fn book_series(
        &self,
        wish: &BookSeries,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Result<Done<SeriesBooked>, CommandError<SeriesRefused>> {
        let refused = |errors| CommandError::Refused(BookingRefused::Invalid(errors).into());
        book::validate(&wish.first).map_err(refused)?;
        let _entered = self.enter(context.business_id, key)?;
        let _turn = self.turn(context.business_id).await?;
        until_decided("book_series", || self.try_series(wish, key, context), |_| None).await?
    }

    async fn try_series(
        &self,
        wish: &BookSeries,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Tried<Answer> {
        let business_id = context.business_id;
        if let Some(answer) = self.stored(business_id, key.as_slice()).await?.replay(key) {
            return Ok(answer);
        }
        let mut state = State::default();
        state.load(&self.log, business_id, &Wanted::default()).await?;
        // Who is met here is met by nobody else: the turn forgets whom the mailbox knew.
        let guests = Guests::default();
        self.meet(&guests, business_id, wish.first.guest.address()).await?;
        let Some(business) = state.registered() else {
            return refuse(BookingRefused::UnknownService);
        };
        let zone = business.profile.value.timezone.clone();
        let visits = visits(wish, &zone)?;
        let mut wanted = Wanted::default();
        for visit in &visits {
            if let Ok(book) = &visit.book {
                decide::wants(&state, book, &mut wanted);
            }
        }
        state.load(&self.log, business_id, &wanted).await?;
        let decided = self.decide_all(&mut state, &guests, visits, context)?;
        let (series_id, mut units, appointments) = decided;
        let booked = SeriesBooked { series_id, appointments };
        if let Some(first) = units.first_mut() {
            together(first, series_id, &wish.rule, &booked)?;
            if let Some(key) = key {
                let answer = serde_json::to_value(&booked);
                first.answer(key.row(answer.map_err(|error| CommitError::Store(error.into()))?));
            }
        }
        match self.log.commit_together(units.into()).await {
            Ok(position) => Ok(Ok(Done::new(booked, position))),
            // The limit also meets a repeat, which must be looked up first.
            Err(CommitError::Limit { .. }) => {
                let stored = self.stored(business_id, key.as_slice()).await?.replay(key);
                stored.map_or_else(|| refuse(BookingRefused::AppointmentCapReached), Ok)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Decides one visit after the other, each on what the ones before it leave.
    fn decide_all(
        &self,
        state: &mut State,
        guests: &Guests,
        visits: Vec<Visit>,
        context: &CommandContext,
    ) -> Tried<(SeriesId, Vec<UnitOfWork>, Vec<Booked>)> {
        let (mut units, mut booked, mut clashes) = (vec![], vec![], vec![]);
        let mut customer = None;
        let series_id = SeriesId::new(clock::new_id());
        let of = u32::try_from(visits.len()).unwrap_or(u32::MAX);
        for (number, Visit { local_start, book }) in (1..).zip(visits) {
            let clash = |refused| Clash { number, local_start, refused };
            let mut book = match book {
                Ok(book) => book,
                Err(refused) => {
                    clashes.push(clash(refused));
                    continue;
                }
            };
            let place = InSeries { series_id, number, of };
            book.series = Some(OfSeries { place, customer });
            match decide::decide(state, guests, self.policy, &book, None, context) {
                Ok(Decision { unit, booked: one, kept, counted, guest }) => {
                    let Kept { weeks, stock } = kept;
                    weeks.into_iter().for_each(|(week, events)| state.evolve_week(week, events));
                    stock.into_iter().for_each(|(week, events)| state.evolve_stock(week, events));
                    counted.iter().for_each(|visit| state.evolve_counted(visit));
                    customer = guest.map(|(_, known)| known).or(customer);
                    units.push(unit);
                    booked.push(one);
                }
                // What is wrong with one of them for its time alone is a clash; the rest is wrong with all.
                Err(Attempt::Refused(refused @ BookingRefused::Unavailable { .. })) => {
                    clashes.push(clash(refused));
                }
                Err(error) => return Err(booking(error)),
            }
        }
        if !clashes.is_empty() {
            return refuse(SeriesRefused::Clashes(clashes));
        }
        Ok((series_id, units, booked))
    }
}

/// A visit of the series, or why its local time is none.
struct Visit {
    local_start: DateTime,
    book: Result<BookAppointment, BookingRefused>,
}

/// Every visit of the series. The first is where it was asked for, also in an hour that comes twice.
fn visits(wish: &BookSeries, zone: &Zone) -> Tried<Vec<Visit>> {
    let first = decide::instant(wish.first.start, zone).map_err(booking)?;
    let local = zone.tz().to_datetime(first);
    let starts = recurrence::starts(&wish.rule, local).map_err(invalid);
    let starts = starts.or_else(refuse)?;
    let at = |n: usize, local: DateTime| -> Result<Timestamp, BookingRefused> {
        if n == 0 { Ok(first) } else { Ok(zone.instant_of(local)?) }
    };
    let visit = |(n, local_start): (usize, DateTime)| Visit {
        local_start,
        book: at(n, local_start).map(|start| BookAppointment {
            appointment_id: if n == 0 {
                wish.first.appointment_id
            } else {
                AppointmentId::new(clock::new_id())
            },
            start: Start::At(start),
            ..wish.first.clone()
        }),
    };
    Ok(starts.into_iter().enumerate().map(visit).collect())
}

/// That they belong together, for those who change more than one.
fn together(
    unit: &mut UnitOfWork,
    series_id: SeriesId,
    rule: &str,
    booked: &SeriesBooked,
) -> Tried<()> {
    let key = StreamKey::of::<Series>(series_id);
    let fresh = Loaded { key, state: Series::default(), sequence: 0 };
    let appointments = booked.appointments.iter().map(|one| one.appointment_id).collect();
    let command = SeriesCommand::Book { rule: rule.to_owned(), appointments };
    let events = fresh.state.decide(command).map_err(|error| CommitError::Store(error.into()))?;
    unit.append(&fresh, events)?;
    Ok(())
}
