use domain::{
    AppointmentId, BusinessId, CustomerId, Decide, DomainEvent, ResourceId, ServiceId, StaffId,
    TimeSlot,
    appointment::Subject,
    business::Answers,
    resource_calendar::{Holder, Use},
};
use jiff::{Timestamp, civil::Date};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::{CommitError, Loaded, StreamKey, TakenPlace};
use crate::{CommandContext, Origin, clock};

/// All that one command changes: committed in one statement, or not at all.
#[derive(Debug)]
pub struct UnitOfWork {
    pub(super) context: CommandContext,
    pub(super) events: Vec<NewEvent>,
    pub(super) guards: Vec<(StreamKey, u64)>,
    pub(super) idempotency: Option<IdempotencyRow>,
    pub(super) usage: Option<Usage>,
    pub(super) customer: Option<NewCustomer>,
    pub(super) contact: Option<Contact>,
    pub(super) reserve: Vec<ReservedTime>,
    pub(super) release: Vec<Uuid>,
    pub(super) resources: Vec<ReservedResource>,
    pub(super) places: Vec<TakenPlace>,
    pub(super) asked: Vec<PendingRequest>,
    pub(super) answered: Vec<Uuid>,
}

#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) stream: StreamKey,
    pub(super) sequence: u64,
    pub(super) event_id: Uuid,
    pub(super) event_type: String,
    pub(super) event_version: String,
    /// Written as JSON once, however often it is tried.
    pub(super) payload: Box<RawValue>,
    /// When it was not the unit's own context that caused it.
    pub(super) origin: Option<Origin>,
}

/// The request that this unit answers, so that a repeat gets the same answer.
#[derive(Debug, Clone)]
pub struct IdempotencyRow {
    /// As the client chose it.
    pub key: String,
    /// Of method, path and parsed body.
    pub request_hash: Vec<u8>,
    /// What was answered.
    pub answer: Value,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) month: Date,
    pub(super) count: u32,
    pub(super) cap: u32,
}

/// A guest whom the business did not know.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// Chosen for them.
    pub customer_id: CustomerId,
    /// What the business knows of them.
    pub name: String,
    /// Where mails go.
    pub email: Option<String>,
    /// Where calls go.
    pub phone: Option<String>,
}

/// What was given with one appointment.
#[derive(Debug, Clone)]
pub struct Contact {
    /// With which.
    pub appointment_id: AppointmentId,
    /// Who comes.
    pub name: String,
    /// Where mails about this visit go.
    pub email: Option<String>,
    /// Where calls about this visit go.
    pub phone: Option<String>,
    /// The guest's own zone.
    pub timezone: Option<String>,
    /// In the guest's words.
    pub notes: Option<String>,
    /// To what the service asks.
    pub answers: Answers,
    /// Who or what it is for, when that is not the guest alone.
    pub subjects: Vec<Subject>,
}

impl Contact {
    /// Whether it has what most bookings have not.
    fn says_more(&self) -> bool {
        !self.answers.is_empty() || !self.subjects.is_empty()
    }
}

/// A row of the second wall.
#[derive(Debug, Clone, Copy)]
pub struct ReservedTime {
    /// For which visit, or meeting of a class.
    pub holder: Holder,
    /// For which of its services, counted from zero.
    pub part: u16,
    /// Whose time.
    pub staff_id: StaffId,
    /// For those who count visits.
    pub service_id: ServiceId,
    /// Without buffers.
    pub slot: TimeSlot,
    /// For those who list slots.
    pub buffer_before_minutes: u32,
    /// For those who list slots.
    pub buffer_after_minutes: u32,
    /// Of a meeting: how many seats are taken in all, and of how many. The row is made for the first
    /// and changed for those who follow.
    pub seats: Option<(u32, u32)>,
}

/// What is used of a resource.
#[derive(Debug, Clone, Copy)]
pub struct ReservedResource {
    /// For which visit, or meeting of a class.
    pub holder: Holder,
    /// Which.
    pub resource_id: ResourceId,
    /// When, and how much.
    pub used: Use,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct PendingRequest {
    /// For which visit.
    pub appointment_id: AppointmentId,
    /// When the scheduler ends it.
    pub expires_at: Timestamp,
}

impl UnitOfWork {
    /// Whose it is.
    #[must_use]
    pub const fn business_id(&self) -> BusinessId {
        self.context.business_id
    }

    /// Nothing yet.
    #[must_use]
    pub const fn new(context: CommandContext) -> Self {
        Self {
            context,
            events: Vec::new(),
            guards: Vec::new(),
            idempotency: None,
            usage: None,
            customer: None,
            contact: None,
            reserve: Vec::new(),
            release: Vec::new(),
            resources: Vec::new(),
            places: Vec::new(),
            asked: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Appends what was decided on `loaded`: expects that nothing was appended since.
    ///
    /// # Errors
    /// When an event cannot be written as JSON.
    pub fn append<A: Decide>(
        &mut self,
        loaded: &Loaded<A>,
        events: Vec<A::Event>,
    ) -> Result<(), CommitError> {
        self.append_after(&loaded.key, loaded.sequence, events)
    }

    /// Appends behind a sequence that the caller knows without loading the stream.
    ///
    /// # Errors
    /// When an event cannot be written as JSON.
    pub fn append_after<E: DomainEvent>(
        &mut self,
        stream: &StreamKey,
        sequence: u64,
        events: Vec<E>,
    ) -> Result<(), CommitError> {
        self.append_caused_by(None, stream, sequence, events)
    }

    /// As [`Self::append_after`], for events that each have an origin of their own.
    ///
    /// # Errors
    /// When an event cannot be written as JSON.
    pub fn append_caused_by<E: DomainEvent>(
        &mut self,
        origin: Option<&Origin>,
        stream: &StreamKey,
        sequence: u64,
        events: Vec<E>,
    ) -> Result<(), CommitError> {
        for (sequence, event) in (sequence + 1..).zip(events) {
            self.events.push(NewEvent {
                stream: stream.clone(),
                sequence,
                event_id: clock::new_id(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                origin: origin.cloned(),
                payload: serde_json::value::to_raw_value(&event)
                    .map_err(|error| CommitError::Store(error.into()))?,
            });
        }
        Ok(())
    }

    /// Expects that nothing was appended to a stream that was read and is not written.
    pub fn guard<A>(&mut self, loaded: &Loaded<A>) {
        self.guards.push((loaded.key.clone(), loaded.sequence));
    }

    /// Expects that nothing was appended behind a sequence that the caller knows without loading the
    /// stream.
    pub fn guard_after(&mut self, stream: StreamKey, sequence: u64) {
        self.guards.push((stream, sequence));
    }

    /// Stores the answer under the request's key.
    pub fn answer(&mut self, row: IdempotencyRow) {
        self.idempotency = Some(row);
    }

    /// Counts appointments against the month's cap.
    pub const fn count(&mut self, month: Date, count: u32, cap: u32) {
        self.usage = Some(Usage { month, count, cap });
    }

    /// Makes a customer known.
    pub fn customer(&mut self, customer: NewCustomer) {
        self.customer = Some(customer);
    }

    /// Keeps what was given with the appointment.
    pub fn contact(&mut self, contact: Contact) {
        self.contact = Some(contact);
    }

    /// Takes time in the second wall.
    pub fn reserve(&mut self, row: ReservedTime) {
        self.reserve.push(row);
    }

    /// Takes a place of a day or week that has a limit.
    pub fn take_place(&mut self, place: TakenPlace) {
        self.places.push(place);
    }

    /// Whether it has what most commands have not.
    pub(super) fn has_more(&self) -> bool {
        self.customer.is_some()
            || !self.release.is_empty()
            || !self.places.is_empty()
            || !self.resources.is_empty()
            || !self.asked.is_empty()
            || !self.answered.is_empty()
            || matches!(self.reserve.as_slice(), [ReservedTime { seats: Some(_), .. }, ..])
            || self.contact.as_ref().is_some_and(Contact::says_more)
    }

    /// Lets the scheduler end a request that nobody answers; once more, when it is moved.
    pub fn ask(&mut self, request: PendingRequest) {
        self.asked.push(request);
    }

    /// The visit is not, or not any more, a request that waits for its answer.
    pub fn answer_request(&mut self, appointment_id: AppointmentId) {
        self.answered.push(appointment_id.uuid());
    }

    /// Gives time in the second wall back, and the places and resources that it took.
    pub fn release(&mut self, holder: impl Into<Holder>) {
        self.release.push(holder.into().uuid());
    }

    /// Uses a resource.
    pub fn take_resource(&mut self, row: ReservedResource) {
        self.resources.push(row);
    }

    /// Whether anything happened.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
