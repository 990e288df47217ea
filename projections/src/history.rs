//! One stream as the log has it, and what it amounts to: for the operator.

use std::str::FromStr;

use domain::{
    Aggregate, ApiKeyId, AppointmentId, BusinessId, CustomerId, InvitationId, LoginId,
    MessageTemplateId, NotificationId, ResourceId, SeriesId, StaffId, UserId, WaitlistId,
    api_key::ApiKey, appointment::Appointment, business::Business, customer::Customer,
    invitation::Invitation, login::Login, message_template::MessageTemplate,
    notification::Notification, resource_calendar::ResourceCalendar, series::Series,
    staff_calendar::StaffCalendar, staff_schedule::StaffSchedule, subscription::Subscription,
    team::Team, user::User, waitlist::WaitlistEntry,
};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use serde_json::Value;
use streams::{
    Cursor, Database,
    log::{self, Entry, StreamKey},
};

use crate::ReadError;

/// The stream that a person names by its id.
#[derive(Debug, Clone)]
pub struct StreamName {
    key: StreamKey,
    fold: fn(&[Entry]) -> Result<Value, ReadError>,
}

/// The text names no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be appt_.., biz_.., staff_.. (hours), staff_..:2026-03-01 (calendar of the week that \
     begins then), res_..:2026-03-01 (the same of a resource), series_.., cust_.., ntf_.., wait_.., \
     user_.., tmpl_.. or subscription:biz_.."
)]
pub struct StreamNameError;

/// A stream and what it amounts to.
#[derive(Debug, Clone, Serialize)]
pub struct StreamHistory {
    /// The type of the aggregate.
    pub aggregate: String,
    /// Its id.
    pub id: String,
    /// In order.
    pub events: Vec<HistoryEvent>,
    /// The aggregate after all of them.
    pub state: Value,
}

/// An event of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryEvent {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its place in the feed.
    pub position: Cursor,
    /// Such as `booking.appointment.booked.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it reached the log.
    pub recorded_at: Timestamp,
    /// Who asked.
    pub actor: String,
    /// The event.
    pub data: Value,
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        if let Some(id) = text.strip_prefix("subscription:") {
            return name::<Subscription, BusinessId>(id).ok_or(StreamNameError);
        }
        if let Some(id) = text.strip_prefix("team:") {
            return name::<Team, BusinessId>(id).ok_or(StreamNameError);
        }
        if let Some((whose, week)) = text.split_once(':') {
            if week.parse::<Date>().is_err() {
                return Err(StreamNameError);
            }
            return stream_of::<StaffCalendar, StaffId>(whose, text)
                .or_else(|| stream_of::<ResourceCalendar, ResourceId>(whose, text))
                .ok_or(StreamNameError);
        }
        name::<Appointment, AppointmentId>(text)
            .or_else(|| name::<Business, BusinessId>(text))
            .or_else(|| name::<StaffSchedule, StaffId>(text))
            .or_else(|| name::<Series, SeriesId>(text))
            .or_else(|| name::<Customer, CustomerId>(text))
            .or_else(|| name::<Notification, NotificationId>(text))
            .or_else(|| name::<WaitlistEntry, WaitlistId>(text))
            .or_else(|| name::<User, UserId>(text))
            .or_else(|| name::<Login, LoginId>(text))
            .or_else(|| name::<Invitation, InvitationId>(text))
            .or_else(|| name::<ApiKey, ApiKeyId>(text))
            .or_else(|| name::<MessageTemplate, MessageTemplateId>(text))
            .ok_or(StreamNameError)
    }
}

fn name<A: Aggregate, Id: FromStr>(text: &str) -> Option<StreamName> {
    stream_of::<A, Id>(text, text)
}

/// The stream `text`, when `whose` is an id of that kind.
fn stream_of<A: Aggregate, Id: FromStr>(whose: &str, text: &str) -> Option<StreamName> {
    let known = whose.parse::<Id>().is_ok();
    known.then(|| StreamName { key: StreamKey::of::<A>(text), fold: fold::<A> })
}

fn fold<A: Aggregate>(entries: &[Entry]) -> Result<Value, ReadError> {
    let mut state = A::default();
    for entry in entries {
        let event = entry.event.decode::<A>().map_err(|error| ReadError::Store(error.into()))?;
        state.apply(event);
    }
    Ok(serde_json::to_value(state)?)
}

/// What was recorded of the stream by `as_of`, or all of it; `None` when that is nothing.
///
/// # Errors
/// When Postgres does not answer or an event cannot be read.
pub async fn show(
    database: &Database,
    name: &StreamName,
    as_of: Option<Timestamp>,
) -> Result<Option<StreamHistory>, ReadError> {
    let entries = log::stream(database.system(), &name.key, as_of).await?;
    if entries.is_empty() {
        return Ok(None);
    }
    let state = (name.fold)(&entries)?;
    let event = |Entry { event, recorded_at }: Entry| HistoryEvent {
        sequence: event.sequence,
        position: event.cursor,
        kind: event.event_type,
        recorded_at,
        actor: event.actor,
        data: event.payload,
    };
    Ok(Some(StreamHistory {
        aggregate: name.key.kind.clone(),
        id: name.key.id.clone(),
        events: entries.into_iter().map(event).collect(),
        state,
    }))
}
