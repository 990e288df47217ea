//! Typed ids: a `UUIDv7` with a prefix, so that no id is taken for another kind.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an id like {prefix}_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f")]
pub struct IdError {
    /// The prefix that this kind of id has.
    pub prefix: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps an id that was made at the edge.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id without its prefix, as tables keep it.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|rest| rest.len() == 32 && !rest.bytes().any(|b| b.is_ascii_uppercase()))
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or(IdError { prefix: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

typed_id!(
    /// One business: the tenant that everything else belongs to.
    BusinessId, "biz");
typed_id!(
    /// Somebody of a business who takes appointments.
    StaffId, "staff");
typed_id!(
    /// Something a business offers for booking.
    ServiceId, "svc");
typed_id!(
    /// One booked visit, from the request until it is kept, missed or cancelled.
    AppointmentId, "appt");
typed_id!(
    /// A guest as one business knows them.
    CustomerId, "cust");
typed_id!(
    /// A stretch in which a staff member is away.
    TimeOffId, "toff");
typed_id!(
    /// Dates on which a whole business is closed.
    ClosureId, "closure");
typed_id!(
    /// A room, a table, a van: what visits need besides people.
    ResourceId, "res");
typed_id!(
    /// One meeting of a class: who comes to it has a seat.
    SessionId, "ses");
typed_id!(
    /// Appointments that were booked as one series.
    SeriesId, "series");
typed_id!(
    /// A guest who waits for a time to become free.
    WaitlistId, "wait");
typed_id!(
    /// A person who signs in.
    UserId, "user");
typed_id!(
    /// What somebody opens by signing in.
    LoginId, "login");
typed_id!(
    /// Somebody asked to belong to a business.
    InvitationId, "inv");
typed_id!(
    /// A key of a program.
    ApiKeyId, "key");
typed_id!(
    /// A forgotten password's replacement, asked for.
    ResetId, "reset");
typed_id!(
    /// One message, from requested to its outcome.
    NotificationId, "ntf");
typed_id!(
    /// The words of one kind of message in one language, as a business wants them.
    MessageTemplateId, "tmpl");
