//! What the words of requests and answers are made of, as the domain checks them.

use domain::{
    ApiKeyId, AppointmentId, BusinessId, ClosureId, CustomerId, InvitationId, LoginId,
    NotificationId, ResourceId, SeriesId, ServiceId, StaffId, TimeOffId, UserId, WaitlistId,
};

use super::rule::{Rule, any_text, formatted, id, list, number, one_of, text};

pub(super) const API_KEY: Rule = id(ApiKeyId::PREFIX);
pub(super) const APPOINTMENT: Rule = id(AppointmentId::PREFIX);
pub(super) const BUSINESS: Rule = id(BusinessId::PREFIX);
pub(super) const CLOSURE: Rule = id(ClosureId::PREFIX);
pub(super) const CUSTOMER: Rule = id(CustomerId::PREFIX);
pub(super) const INVITATION: Rule = id(InvitationId::PREFIX);
pub(super) const LOGIN: Rule = id(LoginId::PREFIX);
pub(super) const NOTIFICATION: Rule = id(NotificationId::PREFIX);
pub(super) const RESOURCE: Rule = id(ResourceId::PREFIX);
pub(super) const SERIES: Rule = id(SeriesId::PREFIX);
pub(super) const SERVICE: Rule = id(ServiceId::PREFIX);
pub(super) const STAFF: Rule = id(StaffId::PREFIX);
pub(super) const TIME_OFF: Rule = id(TimeOffId::PREFIX);
pub(super) const USER: Rule = id(UserId::PREFIX);
pub(super) const WAITLIST: Rule = id(WaitlistId::PREFIX);
pub(super) const STAFF_OR_ANY: Rule = text("^(any|staff_[0-9a-f]{32})$");

/// `Fields::line`.
pub(super) const fn line(most: usize) -> Rule {
    let pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    text(pattern).least(1).most(most)
}

/// `Fields::line`, and no white space at the edges: names that are compared.
pub(super) const fn trimmed(most: usize) -> Rule {
    let pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$";
    text(pattern).least(1).most(most)
}

/// `Fields::note`.
pub(super) const fn note(most: usize) -> Rule {
    text(r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$").most(most)
}

/// Tokens and passwords that are told: whatever is longer is none of ours.
pub(super) const SECRET: Rule = any_text().most(200);
pub(super) const REFRESH_TOKEN: Rule = any_text().most(4_096);
/// Passwords that are chosen.
pub(super) const PASSWORD: Rule = any_text().least(8).most(200);
pub(super) const EMAIL: Rule = formatted("email").most(254);
pub(super) const PHONE: Rule = text("^[-+() .]*([0-9][-+() .]*){5,15}$").most(40);
pub(super) const HANDLE: Rule = text("^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$");
/// Handles are the same in any case.
pub(super) const ANY_HANDLE: Rule = text("^[A-Za-z0-9][A-Za-z0-9-]{1,38}[A-Za-z0-9]$");
pub(super) const BUSINESS_OR_HANDLE: Rule =
    text("^([A-Za-z0-9][A-Za-z0-9-]{1,38}[A-Za-z0-9]|biz_[0-9a-f]{32})$");
/// A name of the time zone database. There are too many to list.
pub(super) const ZONE: Rule = formatted("iana-time-zone");
pub(super) const CURRENCY: Rule = text("^[A-Z]{3}$");
/// Two positive numbers of 64 bits, hexadecimal.
pub(super) const POSITION: Rule = text("^[0-7]?[0-9a-f]{1,15}-[0-7]?[0-9a-f]{1,15}$");
pub(super) const IDEMPOTENCY_KEY: Rule = text("^[!-~]+$").least(1).most(255);
pub(super) const TOKEN: Rule = text("^[A-Za-z0-9_-]+$");
/// The parts of a rule (RFC 5545) that are known; that they fit together is not said here.
pub(super) const RECURRENCE: Rule = text(
    "^(FREQ|INTERVAL|COUNT|UNTIL|BYDAY)=[0-9A-Z,]+(;(FREQ|INTERVAL|COUNT|UNTIL|BYDAY)=[0-9A-Z,]+)*$",
)
.most(120);

/// A date of the years 1900 to 9998.
macro_rules! date {
    () => {
        "(19[0-9]{2}|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    };
}
macro_rules! time {
    () => {
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    };
}
macro_rules! offset {
    () => {
        "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    };
}
pub(super) const DATE: Rule = formatted("date").pattern(concat!("^", date!(), "$"));
pub(super) const INSTANT: Rule =
    formatted("date-time").pattern(concat!("^", date!(), time!(), offset!(), "$"));
pub(super) const LOCAL_OR_INSTANT: Rule = text(concat!("^", date!(), time!(), offset!(), "?$"));
pub(super) const DATE_OR_INSTANT: Rule =
    text(concat!("^", date!(), "(", time!(), offset!(), ")?$"));
pub(super) const WALL_TIME: Rule = text("^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$");

pub(super) const CHANNEL: Rule = one_of(&["email", "sms"]);

pub(super) const MESSAGE_STATUS: Rule = one_of(&[
    "pending",
    "offered",
    "sending",
    "sent",
    "delivered",
    "failed",
    "cancelled",
    "expired",
    "skipped",
    "uncertain",
]);
/// What guests are told.
pub(super) const GUEST_KIND: Rule = one_of(&[
    "confirmation",
    "reminder",
    "rescheduled",
    "cancellation",
    "requested",
    "offered",
    "declined",
    "expired",
]);
pub(super) const LOCALE: Rule = text("^[A-Za-z0-9-]{2,35}$");
pub(super) const MESSAGE_KIND: Rule = one_of(&[
    "confirmation",
    "reminder",
    "rescheduled",
    "cancellation",
    "requested",
    "offered",
    "declined",
    "expired",
    "host_booked",
    "host_requested",
    "host_rescheduled",
    "host_cancelled",
    "invitation",
    "weekly_summary",
]);

pub(super) const PAGE: Rule = number(1, 200);
pub(super) const VISITS: Rule = number(1, 10_000);
pub(super) const DURATION: Rule = number(5, 1440);
pub(super) const DAY_MINUTES: Rule = number(0, 1440);
pub(super) const YEAR_MINUTES: Rule = number(0, 527_040);
pub(super) const WINDOW_DAYS: Rule = number(1, 730);
pub(super) const SKILLS: Rule = list(50).unique();

pub(super) const GRID: Rule = one_of(&["packed", "aligned"]);
pub(super) const BUFFERS: Rule = one_of(&["add", "max"]);
pub(super) const ROLE: Rule = one_of(&["owner", "admin", "staff"]);
pub(super) const STATUS: Rule =
    one_of(&["requested", "booked", "cancelled", "declined", "expired", "completed", "no_show"]);
pub(super) const ENTRY_STATUS: Rule =
    one_of(&["waiting", "offered", "accepted", "declined", "lapsed", "left", "expired"]);
/// What an API key may be for.
pub(super) const SCOPES: &[&str] = &[
    "business:read",
    "business:write",
    "calendar:read",
    "calendar:write",
    "appointments:read",
    "appointments:write",
    "customers:read",
    "customers:write",
    "audit:read",
];
pub(super) const SCOPE: Rule = one_of(SCOPES);

#[cfg(test)]
mod tests {
    use domain::api_key::Scope;

    use super::*;

    #[test]
    fn every_scope_is_named() {
        assert_eq!(Scope::ALL.map(Scope::as_str).as_slice(), SCOPES);
    }
}
