//! Visits that are booked, called off and moved together.

use axum::http::StatusCode;
use commands::{
    CommandError,
    appointment::{
        BookAppointment, BookSeries, BookingRefused, Clash, MoveRefused, SeriesBooked,
        SeriesRefused, TogetherRefused,
    },
    idempotency::IdempotencyKey,
};
use domain::{AppointmentId, SeriesId, StaffId, appointment::InSeries, series::Scope};
use jiff::{Timestamp, civil::DateTime};
use serde::{Deserialize, Serialize};
use streams::CommandContext;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::Written,
    appointments,
    book::{self, BookedAnswer},
};

/// When the visit is repeated: all of it is booked, or none.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"rule": "FREQ=WEEKLY;COUNT=10"}))]
pub(crate) struct Recurrence {
    /// A rule (RFC 5545) on the wall clock of the business: `FREQ=WEEKLY` or `MONTHLY`, with `COUNT` or
    /// with `UNTIL` a local date that belongs to it, and perhaps `INTERVAL` and, by the week, `BYDAY`.
    /// It makes 2 to 52 visits, the first where `start` is.
    pub(super) rule: String,
}

/// The visits of the longest series.
#[expect(clippy::cast_possible_truncation, reason = "it is fifty-two")]
const MOST: u32 = domain::series::MOST as u32;

impl Recurrence {
    /// How many visits it makes at most, without looking at a calendar: for limits of those who ask.
    pub(super) fn visits(&self) -> u32 {
        let count = self.rule.split(';').find_map(|part| part.trim().strip_prefix("COUNT="));
        count.and_then(|count| count.parse().ok()).unwrap_or(MOST).min(MOST)
    }
}

/// A visit's place in its series, as it was booked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesPlace {
    #[schema(value_type = String)]
    series_id: SeriesId,
    /// Counted from one.
    number: u32,
    of: u32,
}

impl From<InSeries> for SeriesPlace {
    fn from(InSeries { series_id, number, of }: InSeries) -> Self {
        Self { series_id, number, of }
    }
}

/// All visits of a series that was booked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesAnswer {
    #[schema(value_type = String)]
    series_id: SeriesId,
    /// In the order of their starts.
    appointments: Vec<SeriesVisit>,
}

/// A visit of a series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesVisit {
    #[schema(value_type = String)]
    appointment_id: AppointmentId,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    #[schema(value_type = String)]
    staff_id: StaffId,
    /// Where the guest sees and changes this visit: a secret.
    #[schema(format = "uri")]
    manage_url: String,
}

/// Which visits of a series a change is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScopeBody {
    /// This one alone.
    #[default]
    One,
    /// This one and those behind it.
    Following,
    /// All that are still to come.
    All,
}

impl ScopeBody {
    pub(super) fn is_one(self) -> bool {
        self == Self::One
    }
}

impl From<ScopeBody> for Scope {
    fn from(scope: ScopeBody) -> Self {
        match scope {
            ScopeBody::One => Self::One,
            ScopeBody::Following => Self::Following,
            ScopeBody::All => Self::All,
        }
    }
}

/// A visit that cannot be had.
#[derive(Serialize)]
struct ClashBody {
    number: u32,
    local_start: DateTime,
    code: &'static str,
    detail: String,
}

impl From<Clash> for ClashBody {
    fn from(Clash { number, local_start, refused }: Clash) -> Self {
        let detail = refused.to_string();
        Self { number, local_start, code: book::refusal(refused).code(), detail }
    }
}

fn refusal(refused: SeriesRefused) -> Problem {
    let detail = refused.to_string();
    match refused {
        SeriesRefused::Booking(refused) => book::refusal(refused),
        SeriesRefused::Clashes(clashes) => {
            let all: Vec<ClashBody> = clashes.into_iter().map(Into::into).collect();
            Problem::new(StatusCode::CONFLICT, "series_clash", detail).with("clashes", all)
        }
    }
}

/// Why visits were not changed together.
pub(super) fn not_together(
    error: CommandError<TogetherRefused>,
    spent: impl Fn() -> Problem,
) -> Problem {
    Problem::of(error, |refused| match refused {
        TogetherRefused::One(MoveRefused::Spent) => spent(),
        TogetherRefused::One(MoveRefused::Booking(refused)) => book::refusal(refused),
        TogetherRefused::One(MoveRefused::Appointment(error)) => appointments::refusal(&error),
        TogetherRefused::Series(refused) => refusal(refused),
    })
}

impl Api {
    /// Books a series; the answer is that of its first visit, with all of them beside.
    pub(super) async fn series_booked(
        &self,
        first: BookAppointment,
        rule: String,
        key: Option<&IdempotencyKey>,
        context: CommandContext,
    ) -> Result<Written<BookedAnswer>, Problem> {
        let wish = BookSeries { first, rule };
        let done = match self.commands.book_series(&wish, key, &context).await {
            Ok(done) => done,
            Err(CommandError::Refused(SeriesRefused::Booking(refused))) => {
                let error = CommandError::Refused::<BookingRefused>(refused);
                return Err(self.refused(error, context.business_id, &wish.first).await);
            }
            Err(error) => return Err(Problem::of(error, refusal)),
        };
        let SeriesBooked { series_id, appointments } = done.value;
        let visits = appointments.iter().map(|booked| SeriesVisit {
            appointment_id: booked.appointment_id,
            start: booked.start,
            end: booked.end,
            staff_id: booked.staff_id,
            manage_url: self.manage_urls.url(booked.appointment_id),
        });
        let series = SeriesAnswer { series_id, appointments: visits.collect() };
        let Some(first) = appointments.first() else { return Err(Problem::not_found()) };
        let body = self.answer_of(first, done.position).with_series(series);
        let location = format!("/api/v1/appointments/{}", first.appointment_id);
        let written = Written::new(StatusCode::CREATED, done.position, body).at(location);
        Ok(Written { replayed: done.replayed, ..written })
    }
}
