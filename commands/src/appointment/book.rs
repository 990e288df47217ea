use domain::{
    AppointmentId, FieldError, Fields, LocalTimeError, Money, ServiceId, StaffId, WaitlistId, Zone,
    appointment::{InSeries, Part, Status, Subject, Visit},
    availability::{Asked, MOST_FURTHER, Refusal, Waived},
    business::Answers,
};
use jiff::{Timestamp, civil::DateTime};
use serde::{Deserialize, Serialize};
use streams::{CommandContext, log::KnownCustomer};

use super::{BookTask, Guest};
use crate::{
    CommandError, Commands, Done,
    idempotency::IdempotencyKey,
    mailbox::{Full, Task},
};

/// When a visit is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// An instant.
    At(Timestamp),
    /// Local time in the business's zone: refused where it is ambiguous or does not exist.
    Local(DateTime),
}

/// A wish to book.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// What an owner sets aside; a gateway of an older build does not understand it and leaves the
    /// decision to whoever was asked.
    #[serde(default, skip_serializing_if = "Waived::is_none")]
    pub waived: Waived,
    /// What is to be done after the first service, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
    /// To what the service asks, by key.
    #[serde(default, skip_serializing_if = "Answers::is_empty")]
    pub answers: Answers,
    /// Who or what it is for, when that is not the guest alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
    /// Of which series; single visits alone are decided by another process.
    #[serde(skip)]
    pub series: Option<OfSeries>,
    /// The guest of the waitlist whom the time is offered to: then it is asked of that guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waitlist_id: Option<WaitlistId>,
}

/// What a visit of a series has from the series.
#[derive(Debug, Clone, Copy)]
pub struct OfSeries {
    pub(super) place: InSeries,
    /// Who comes, once the first visit has said so: a guest without an address is not found again.
    pub(super) customer: Option<KnownCustomer>,
}

/// A service that follows the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Also {
    /// Which.
    pub service_id: ServiceId,
    /// By whom; `None` takes whoever serves already, or anybody who is free.
    pub staff_id: Option<StaffId>,
}

impl From<&Also> for Asked {
    fn from(also: &Also) -> Self {
        Self { service_id: also.service_id, staff_id: also.staff_id }
    }
}

impl BookAppointment {
    /// So many come: the guest alone, or those who are named.
    pub(super) fn come(&self) -> u32 {
        u32::try_from(self.subjects.len()).unwrap_or(u32::MAX).max(1)
    }
}

/// A booked visit, as its guest is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booked {
    /// The visit.
    pub appointment_id: AppointmentId,
    /// Requested when the business wants to agree first, booked otherwise.
    pub status: Status,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Who serves.
    pub staff_id: StaffId,
    /// What is done.
    pub service_id: ServiceId,
    /// For how much, all in all.
    pub price: Money,
    /// Who does what when, when there are several services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Until when the business may answer a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Booked {
    /// What expires is only asked for.
    pub(super) fn of(
        appointment_id: AppointmentId,
        visit: &Visit,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self {
            appointment_id,
            status: if expires_at.is_some() { Status::Requested } else { Status::Booked },
            start: visit.slot.start(),
            end: visit.slot.end(),
            staff_id: visit.staff_id,
            service_id: visit.service_id,
            price: visit.price,
            parts: visit.parts.clone(),
            expires_at,
        }
    }
}

/// Why a visit was not booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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

impl BookingRefused {
    /// Whether visits with somebody else may be the reason: they count towards the same limit, or use
    /// the same things.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                refusal: Refusal::LimitReached { .. } | Refusal::NoResource { .. },
                ..
            }
        )
    }
}

impl Commands {
    /// Books a visit in this process: its events, the calendar's, the second wall, the usage count and the answer
    /// to be repeated are one statement.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %book.appointment_id))]
    pub(crate) async fn book_here(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Result<Done<Booked>, CommandError<BookingRefused>> {
        validate(book).map_err(|errors| CommandError::Refused(BookingRefused::Invalid(errors)))?;
        let _entered = self.enter(context.business_id, key)?;
        let (task, answer) = BookTask::new(book.clone(), key.cloned(), context.clone());
        let mailbox = self.mailboxes.of(context.business_id);
        // Before posting: while the guest is looked up, the others are served.
        self.meet(&mailbox.guests, context.business_id, task.address.clone()).await?;
        let posted = mailbox.post(self, Task::Book(Box::new(task)));
        posted.map_err(|Full| CommandError::Conflict)?;
        Self::answered(answer).await
    }
}

pub(super) fn validate(book: &BookAppointment) -> Result<(), Vec<FieldError>> {
    book.guest.validate()?;
    let mut fields = Fields::default();
    if let Some(notes) = &book.notes {
        fields.note("notes", notes, 2_000);
    }
    let message = format!("must have at most {MOST_FURTHER} services");
    fields.check(book.also.len() <= MOST_FURTHER, "also", message);
    book.answers.validate(&mut fields);
    Subject::validate(&book.subjects, &mut fields);
    fields.done()
}
