use domain::{
    AppointmentId, FieldError, Fields, LocalTimeError, Money, ServiceId, StaffId, Zone,
    appointment::Status, availability::Refusal,
};
use jiff::{Timestamp, civil::DateTime};
use serde::{Deserialize, Serialize};
use streams::{CommandContext, log::CommitError};
use uuid::Uuid;

use super::Guest;
use crate::{
    CommandError, Commands, Done, again::Tries, error::Attempt, idempotency::IdempotencyKey,
};

/// When a visit is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// An instant.
    At(Timestamp),
    /// Local time in the business's zone: refused where it is ambiguous or does not exist.
    Local(DateTime),
}

/// A wish to book.
#[derive(Debug, Clone)]
pub struct BookAppointment {
    /// Chosen by the caller.
    pub appointment_id: AppointmentId,
    /// What is to be done.
    pub service_id: ServiceId,
    /// By whom; `None` takes anybody who is free.
    pub staff_id: Option<StaffId>,
    /// When.
    pub start: Start,
    /// For whom.
    pub guest: Guest,
    /// The guest's own zone, for their mails.
    pub timezone: Option<Zone>,
    /// In the guest's words.
    pub notes: Option<String>,
}

/// A booked visit, as its guest is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booked {
    /// The visit.
    pub appointment_id: AppointmentId,
    /// Always booked, until services can ask for approval.
    pub status: Status,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Who serves.
    pub staff_id: StaffId,
    /// What is done.
    pub service_id: ServiceId,
    /// For how much.
    pub price: Money,
}

/// Why a visit was not booked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookingRefused {
    /// No such service, or not any more.
    #[error("no such service")]
    UnknownService,
    /// No such staff member, or not any more.
    #[error("no such staff member")]
    UnknownStaff,
    /// The staff member does not offer the service.
    #[error("the staff member does not offer this service")]
    NotOffered,
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The local time names no single instant.
    #[error(transparent)]
    LocalTime(#[from] LocalTimeError),
    /// The availability rules refuse the instant.
    #[error("{refusal}")]
    Unavailable {
        /// The instant that was asked for.
        start: Timestamp,
        /// The rule.
        refusal: Refusal,
    },
    /// The business has used up its plan this month.
    #[error("the business takes no more bookings this month")]
    AppointmentCapReached,
}

/// What follows from a try that was not done.
enum Next {
    Again,
    Stop(CommandError<BookingRefused>),
}

impl Commands {
    /// Books a visit: its events, the calendar's, the second wall, the usage count and the answer
    /// to be repeated are one statement.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %book.appointment_id))]
    pub async fn book(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Result<Done<Booked>, CommandError<BookingRefused>> {
        validate(book).map_err(|errors| CommandError::Refused(BookingRefused::Invalid(errors)))?;
        let business_id = context.business_id;
        let _entered = self.enter(business_id, key)?;
        if let Some(done) = self.replay(business_id, key).await? {
            return Ok(done);
        }
        let calendar = book.staff_id.map_or_else(|| book.service_id.uuid(), StaffId::uuid);
        let Some(_turn) = self.turns.wait(calendar).await else {
            return Err(CommandError::Conflict);
        };
        let mut tries = Tries::of("book");
        let mut walled = 0;
        loop {
            let error = match self.try_book(book, key, context).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            // Another process may have done this very request meanwhile: a retry must not be
            // refused by its own booking.
            if let Some(done) = self.replay(business_id, key).await? {
                return Ok(done);
            }
            match self.next(error, &mut walled, book, context) {
                Next::Stop(error) => return Err(error),
                Next::Again if tries.again().await => {}
                Next::Again => return Err(CommandError::Conflict),
            }
        }
    }

    fn next(
        &self,
        error: Attempt<BookingRefused>,
        walled: &mut u32,
        book: &BookAppointment,
        context: &CommandContext,
    ) -> Next {
        let error = match error {
            Attempt::Refused(refused) => return Next::Stop(CommandError::Refused(refused)),
            Attempt::Commit(error) => error,
        };
        match error {
            CommitError::TimeReserved => {
                *walled += 1;
                if *walled < 3 {
                    return Next::Again;
                }
                // Decided anew three times and still refused by the constraint: our rules and the
                // second wall disagree.
                tracing::error!(business.id = %context.business_id, "the second wall refused what the rules allowed");
                metrics::counter!("apptremind_second_wall_total").increment(1);
                let Start::At(start) = book.start else {
                    return Next::Stop(CommandError::Conflict);
                };
                let refusal = Refusal::Taken { by: AppointmentId::new(Uuid::nil()) };
                Next::Stop(CommandError::Refused(BookingRefused::Unavailable { start, refusal }))
            }
            CommitError::Conflict | CommitError::Repeat => Next::Again,
            CommitError::Limit { .. } => {
                Next::Stop(CommandError::Refused(BookingRefused::AppointmentCapReached))
            }
            error @ (CommitError::Store(_) | CommitError::Taken { .. }) => Next::Stop(error.into()),
        }
    }
}

fn validate(book: &BookAppointment) -> Result<(), Vec<FieldError>> {
    book.guest.validate()?;
    let mut fields = Fields::default();
    if let Some(notes) = &book.notes {
        fields.note("notes", notes, 2_000);
    }
    fields.done()
}
