//! Each business has one deciding process: the others ask it, and decide themselves when it does not
//! answer. Who decides is a hint; that a booking is right is held by the log, whoever decides.

use std::time::Duration;

use domain::{
    BusinessId, UserId,
    appointment::{Appointment, AppointmentEvent},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use streams::{
    Actor, CommandContext, Cursor, Origin, feed,
    log::{CommitError, StreamKey},
    peers::{NotAnswered, Owner},
};
use tracing::Instrument;

use super::{BookAppointment, Booked, BookingRefused};
use crate::{CommandError, Commands, Done, idempotency::IdempotencyKey};

type Outcome = Result<Done<Booked>, CommandError<BookingRefused>>;

/// A process that takes longer is stopped, lost or overloaded.
const PATIENCE: Duration = Duration::from_secs(2);

/// A wish to book, on its way to another process. Both may be of different builds: what one of them
/// does not know is not understood, and then nothing is done.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    book: BookAppointment,
    key: Option<IdempotencyKey>,
    business_id: BusinessId,
    /// Signed in, or a guest.
    user_id: Option<UserId>,
    now: Timestamp,
    origin: Origin,
}

/// What became of it, on the way back.
#[derive(Serialize, Deserialize)]
enum Verdict {
    Booked { value: Booked, position: Cursor, replayed: bool },
    Refused(BookingRefused),
    KeyReused,
    InProgress,
    Conflict,
    Unavailable(String),
    Store(String),
}

impl Wish {
    /// Nothing for our own roles, which do not book, nor for programs: builds before this one would take
    /// them for guests.
    fn of(
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Option<Vec<u8>> {
        let user_id = match context.actor {
            Actor::User(user_id) => Some(user_id),
            Actor::Guest => None,
            Actor::Key(_) | Actor::System(_) => return None,
        };
        let wish = Self {
            book: book.clone(),
            key: key.cloned(),
            business_id: context.business_id,
            user_id,
            now: context.now,
            origin: context.origin.clone(),
        };
        serde_json::to_vec(&wish).ok()
    }

    fn context(&self) -> CommandContext {
        CommandContext {
            business_id: self.business_id,
            actor: self.user_id.map_or(Actor::Guest, Actor::User),
            now: self.now,
            origin: self.origin.clone(),
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(Done { value, position, replayed }) => Self::Booked { value, position, replayed },
            Err(CommandError::Refused(refused)) => Self::Refused(refused),
            Err(CommandError::KeyReused) => Self::KeyReused,
            Err(CommandError::InProgress) => Self::InProgress,
            Err(CommandError::Conflict) => Self::Conflict,
            Err(CommandError::Unavailable(error)) => Self::Unavailable(error.to_string()),
            Err(CommandError::Store(error)) => Self::Store(error.to_string()),
        }
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Err(match verdict {
            Verdict::Booked { value, position, replayed } => {
                return Ok(Done { value, position, replayed });
            }
            Verdict::Refused(refused) => CommandError::Refused(refused),
            Verdict::KeyReused => CommandError::KeyReused,
            Verdict::InProgress => CommandError::InProgress,
            Verdict::Conflict => CommandError::Conflict,
            Verdict::Unavailable(error) => CommandError::Unavailable(error.into()),
            Verdict::Store(error) => CommandError::Store(error.into()),
        })
    }
}

/// What asking another process came to.
enum Asked {
    Answered(Outcome),
    /// Nothing has happened there.
    Untouched,
    /// It may have been booked there.
    Unclear,
}

impl Commands {
    /// Books a visit, in the process that owns its business. When that does not answer, here.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    pub async fn book(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Outcome {
        match self.ask_owner(book, key, context).await {
            None | Some(Asked::Untouched) => self.book_here(book, key, context).await,
            Some(Asked::Answered(outcome)) => outcome,
            Some(Asked::Unclear) => self.settle(book, key, context).await,
        }
    }

    /// Books for another process; nothing when its wish is not understood. It is not passed on:
    /// when two processes disagree on the owner, the second one decides.
    pub async fn book_for_another(&self, wish: Vec<u8>) -> Option<Vec<u8>> {
        let wish: Wish = serde_json::from_slice(&wish).ok()?;
        let context = wish.context();
        let span = tracing::info_span!("forwarded", request_id = %context.origin.correlation_id,
            traceparent = context.origin.traceparent);
        let outcome = self.book_here(&wish.book, wish.key.as_ref(), &context).instrument(span);
        // An answer that cannot be read counts as none.
        Some(serde_json::to_vec(&Verdict::from(outcome.await)).unwrap_or_default())
    }

    /// Nothing when this process owns the business.
    async fn ask_owner(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Option<Asked> {
        let peers = self.peers.as_ref()?;
        let Owner::There(peer) = peers.owner(context.business_id) else { return None };
        let wish = Wish::of(book, key, context)?;
        let (asked, outcome) = match peers.ask(peer, wish, PATIENCE).await {
            Ok(answer) => match serde_json::from_slice::<Verdict>(&answer) {
                Ok(verdict) => (Asked::Answered(verdict.into()), "answered"),
                // Of a newer build: what it says is not known, and it may have booked.
                Err(_unknown) => (Asked::Unclear, "unreadable"),
            },
            Err(NotAnswered::NotReached) => (Asked::Untouched, "not_reached"),
            Err(NotAnswered::Unanswered) => (Asked::Unclear, "unanswered"),
        };
        metrics::counter!("apptremind_commands_forwarded_total", "outcome" => outcome).increment(1);
        Some(asked)
    }

    /// Decides here what another process may have booked, before or meanwhile. The appointment's id
    /// was chosen before it was asked, so a booking of its own is known by it, and refuses nobody.
    async fn settle(
        &self,
        book: &BookAppointment,
        key: Option<&IdempotencyKey>,
        context: &CommandContext,
    ) -> Outcome {
        if let Some(done) = self.booked_elsewhere(book, context).await? {
            return Ok(done);
        }
        let error = match self.book_here(book, key, context).await {
            Ok(done) => {
                // The stored answer to this very request is its first one.
                let replayed = done.replayed && done.value.appointment_id != book.appointment_id;
                return Ok(Done { replayed, ..done });
            }
            Err(error) => error,
        };
        self.booked_elsewhere(book, context).await?.ok_or(error)
    }

    /// The visit, when the log has it.
    async fn booked_elsewhere(
        &self,
        book: &BookAppointment,
        context: &CommandContext,
    ) -> Result<Option<Done<Booked>>, CommandError<BookingRefused>> {
        let key = StreamKey::of::<Appointment>(book.appointment_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let Some(first) = histories.events(&key).first() else { return Ok(None) };
        let event =
            first.decode::<Appointment>().map_err(|error| CommitError::Store(error.into()))?;
        let (visit, expires_at) = match event {
            AppointmentEvent::Booked { visit, .. } => (visit, None),
            AppointmentEvent::Requested { visit, expires_at, .. } => (visit, Some(expires_at)),
            AppointmentEvent::Confirmed {}
            | AppointmentEvent::Declined {}
            | AppointmentEvent::Expired {}
            | AppointmentEvent::Rescheduled { .. }
            | AppointmentEvent::Reinstated { .. }
            | AppointmentEvent::Cancelled {}
            | AppointmentEvent::Completed {}
            | AppointmentEvent::MissedByGuest {} => return Ok(None),
        };
        let pool = self.log.database().system();
        let position = feed::end_of_transaction(pool, first.cursor).await?;
        Ok(Some(Done::new(Booked::of(book.appointment_id, &visit, expires_at), position)))
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        AppointmentId, Currency, FieldError, LocalTimeError, Money, ServiceId, StaffId, Zone,
        appointment::{Status, Subject},
        availability::{Refusal, Waived},
        business::Answers,
    };
    use jiff::civil::date;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::{
        super::{Guest, Start},
        *,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Two builds may run side by side: what is pinned here changes only together with the number
    /// in the subjects of `streams::peers`.
    #[test]
    fn a_wish_on_its_way_keeps_its_form_and_what_is_new_in_it_is_not_understood() {
        let book = BookAppointment {
            appointment_id: AppointmentId::new(Uuid::from_u128(1)),
            service_id: ServiceId::new(Uuid::from_u128(2)),
            staff_id: Some(StaffId::new(Uuid::from_u128(3))),
            start: Start::At(at("2026-03-02T09:00:00Z")),
            guest: Guest { name: "Ada".into(), email: Some("ada@example.com".into()), phone: None },
            timezone: Some("Europe/London".parse().unwrap()),
            notes: Some("window seat".into()),
            waived: Waived::default(),
            also: vec![],
            answers: Answers::default(),
            subjects: vec![],
            series: None,
            waitlist_id: None,
        };
        let context = CommandContext {
            business_id: BusinessId::new(Uuid::from_u128(4)),
            actor: Actor::Guest,
            now: at("2026-03-01T09:00:00Z"),
            origin: Origin {
                correlation_id: Uuid::from_u128(5),
                causation_id: None,
                traceparent: Some("00-1-2-01".into()),
            },
        };
        let wish = Wish::of(&book, None, &context).unwrap();
        let mut wish: Value = serde_json::from_slice(&wish).unwrap();
        let id = |kind: &str, n: u32| format!("{kind}_{n:032}");
        let form = json!({
            "book": {
                "appointment_id": id("appt", 1), "service_id": id("svc", 2), "staff_id": id("staff", 3),
                "start": {"At": "2026-03-02T09:00:00Z"},
                "guest": {"name": "Ada", "email": "ada@example.com", "phone": null},
                "timezone": "Europe/London", "notes": "window seat",
            },
            "key": null, "business_id": id("biz", 4), "user_id": null, "now": "2026-03-01T09:00:00Z",
            "origin": {"correlation_id": "00000000-0000-0000-0000-000000000005",
                       "causation_id": null, "traceparent": "00-1-2-01"},
        });
        assert_eq!(wish, form);
        let there: Wish = serde_json::from_value(wish.clone()).unwrap();
        assert_eq!(there.context().origin.traceparent.as_deref(), Some("00-1-2-01"));
        // What most guests do not say is not there.
        let said = BookAppointment {
            answers: serde_json::from_value(json!({"size": "large"})).unwrap(),
            subjects: vec![Subject { name: "Rex".into(), notes: None }],
            ..book
        };
        let said = Wish::of(&said, None, &context).unwrap();
        let mut said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(said["book"]["answers"], json!({"size": "large"}));
        assert_eq!(said["book"]["subjects"], json!([{"name": "Rex"}]));
        assert!(serde_json::from_value::<Wish>(said.clone()).is_ok());
        said["book"]["subjects"][0]["age"] = json!(3);
        assert!(serde_json::from_value::<Wish>(said).is_err(), "the age would be lost");
        wish["book"]["seats"] = json!(2);
        assert!(serde_json::from_value::<Wish>(wish).is_err(), "seats would be lost");
    }

    fn booked() -> Booked {
        Booked {
            appointment_id: AppointmentId::new(Uuid::from_u128(1)),
            status: Status::Booked,
            start: at("2026-03-02T09:00:00Z"),
            end: at("2026-03-02T09:30:00Z"),
            staff_id: StaffId::new(Uuid::from_u128(3)),
            service_id: ServiceId::new(Uuid::from_u128(2)),
            price: Money { amount: 4_500, currency: "USD".parse::<Currency>().unwrap() },
            parts: vec![],
            expires_at: None,
        }
    }

    #[test]
    fn a_verdict_on_its_way_back_keeps_its_form() {
        let zone: Zone = "Europe/London".parse().unwrap();
        let local = date(2026, 3, 29).at(1, 30, 0, 0);
        let start = at("2026-03-02T09:00:00Z");
        let value = booked();
        let taken = Refusal::Taken { by: AppointmentId::new(Uuid::from_u128(1)) };
        let missing = FieldError { field: "notes".into(), message: "must be short".into() };
        let nonexistent = LocalTimeError::Nonexistent { local, zone };
        let cases: Vec<(Outcome, Value)> = vec![
            (
                Ok(Done {
                    value,
                    position: Cursor { transaction_id: 16, position: 255 },
                    replayed: true,
                }),
                json!({"Booked": {
                    "value": {
                        "appointment_id": format!("appt_{:032}", 1), "status": "booked",
                        "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T09:30:00Z",
                        "staff_id": format!("staff_{:032}", 3), "service_id": format!("svc_{:032}", 2),
                        "price": {"amount": 4500, "currency": "USD"},
                    },
                    "position": "10-ff", "replayed": true,
                }}),
            ),
            (
                Err(CommandError::Refused(BookingRefused::Unavailable { start, refusal: taken })),
                json!({"Refused": {"Unavailable": {"start": "2026-03-02T09:00:00Z",
                                                   "refusal": {"Taken": {"by": format!("appt_{:032}", 1)}}}}}),
            ),
            (
                Err(CommandError::Refused(BookingRefused::Invalid(vec![missing]))),
                json!({"Refused": {"Invalid": [{"field": "notes", "message": "must be short"}]}}),
            ),
            (
                Err(CommandError::Refused(BookingRefused::LocalTime(nonexistent))),
                json!({"Refused": {"LocalTime": {"Nonexistent": {"local": "2026-03-29T01:30:00",
                                                                 "zone": "Europe/London"}}}}),
            ),
            (
                Err(CommandError::Refused(BookingRefused::AppointmentCapReached)),
                json!({"Refused": "AppointmentCapReached"}),
            ),
            (Err(CommandError::KeyReused), json!("KeyReused")),
            (Err(CommandError::InProgress), json!("InProgress")),
            (Err(CommandError::Conflict), json!("Conflict")),
            (Err(CommandError::Unavailable("away".into())), json!({"Unavailable": "away"})),
            (Err(CommandError::Store("odd".into())), json!({"Store": "odd"})),
        ];
        for (outcome, form) in cases {
            let said = format!("{outcome:?}");
            let verdict = serde_json::to_value(Verdict::from(outcome)).unwrap();
            assert_eq!(verdict, form);
            let heard: Outcome = serde_json::from_value::<Verdict>(verdict).unwrap().into();
            assert_eq!(format!("{heard:?}"), said);
        }
    }
    #[test]
    fn a_verdict_says_until_when_a_request_may_be_answered() {
        let value = Booked {
            status: Status::Requested,
            expires_at: Some(at("2026-03-02T08:00:00Z")),
            ..booked()
        };
        let position = Cursor { transaction_id: 16, position: 255 };
        let outcome: Outcome = Ok(Done { value: value.clone(), position, replayed: false });
        let form = serde_json::to_value(Verdict::from(outcome)).unwrap();
        let asked = &form["Booked"]["value"];
        assert_eq!(asked["status"], "requested");
        assert_eq!(asked["expires_at"], "2026-03-02T08:00:00Z");
        let heard: Outcome = serde_json::from_value::<Verdict>(form).unwrap().into();
        assert_eq!(heard.unwrap().value, value);
    }
}
