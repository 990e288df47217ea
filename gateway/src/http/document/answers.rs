//! What stands in answers.

use super::{
    rule::{Rule, one_of, text},
    schemas::Group,
    words::{
        API_KEY, APPOINTMENT, BUFFERS, BUSINESS, CHANNEL, CLOSURE, CURRENCY, CUSTOMER,
        ENTRY_STATUS, GRID, GUEST_KIND, HANDLE, INVITATION, LOCALE, LOGIN, MESSAGE_KIND,
        MESSAGE_STATUS, NOTIFICATION, POSITION, RESOURCE, ROLE, SCOPE, SERIES, SERVICE, STAFF,
        STATUS, TIME_OFF, USER, WAITLIST,
    },
};

/// By schema and field; `[]` is for the items of a list.
pub(super) const ANSWERS: &[Group] = &[
    (&["UserAnswer", "MeAnswer"], &[("id", USER), ("role", ROLE)]),
    (&["SessionAnswer"], &[("token_type", one_of(&["Bearer"]))]),
    (&["Session"], &[("id", LOGIN)]),
    (&["Business"], &[("id", BUSINESS), ("role", ROLE)]),
    (&["Invitation"], &[("id", INVITATION)]),
    (&["ApiKey"], &[("id", API_KEY), ("scopes[]", SCOPE), ("created_by", USER)]),
    (&["ApiKeyCreated"], &[("id", API_KEY), ("key", text("^ark_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$"))]),
    (&["AuditEntry"], &[("action", text(r"^[a-z_]+(\.[a-z_]+)+\.v[0-9]+$"))]),
    (&["ProfileAnswer", "Customer", "Preferences"], &[("reminder_channels[]", CHANNEL)]),
    (&["Preferences"], &[("offered[]", CHANNEL)]),
    (&["PolicyAnswer"], &[("slot_grid", GRID), ("buffers", BUFFERS)]),
    (&["Service"], &[("id", SERVICE), ("staff_ids[]", STAFF)]),
    (&["Staff"], &[("id", STAFF), ("service_ids[]", SERVICE)]),
    (&["Resource"], &[("id", RESOURCE)]),
    (&["MessageTemplate", "ListedTemplate"], &[("kind", GUEST_KIND), ("locale", LOCALE)]),
    (&["Closure"], &[("id", CLOSURE)]),
    (&["ClosureCreated", "TimeOffCreated"], &[("affected[]", APPOINTMENT)]),
    (&["TimeOff"], &[("id", TIME_OFF)]),
    (&["PublicBusiness"], &[("id", BUSINESS)]),
    (&["GuestService"], &[("id", SERVICE)]),
    (&["PublicStaff", "GuestStaff"], &[("id", STAFF)]),
    (
        &["ReasonAnswer"],
        &[(
            "rule",
            one_of(&[
                "slot_in_past",
                "too_soon",
                "too_far",
                "outside_hours",
                "closed",
                "limit_reached",
                "slot_taken",
                "time_off",
                "off_grid",
                "class_full",
                "resource_taken",
                "not_offered",
                "invalid",
            ]),
        )],
    ),
    (&["BookedAnswer"], &[("status", one_of(&["requested", "booked"]))]),
    (&["Appointment", "ListedAppointment"], &[("id", APPOINTMENT), ("status", STATUS)]),
    (&["GuestAppointment"], &[("status", STATUS)]),
    (
        &["HistoryAnswer"],
        &[("actor_role", one_of(&["guest", "owner", "admin", "staff", "program", "system"]))],
    ),
    (
        &["ReminderAnswer"],
        &[
            ("id", NOTIFICATION),
            ("kind", MESSAGE_KIND),
            ("recipient", one_of(&["guest", "host", "member"])),
            ("channel", CHANNEL),
            ("status", MESSAGE_STATUS),
        ],
    ),
    (
        &["NotificationAttempt"],
        &[("outcome", one_of(&["sent", "deferred", "failed", "uncertain", "cancelled", "lost"]))],
    ),
    (
        &["CalendarEntry"],
        &[
            ("id", text("^(appt|ses|toff)_[0-9a-f]{32}$")),
            ("status", one_of(&["requested", "booked", "completed", "no_show"])),
        ],
    ),
    (&["CustomerAnswer", "ListedCustomer"], &[("id", CUSTOMER)]),
    (&["WaitlistEntry"], &[("id", WAITLIST), ("status", ENTRY_STATUS)]),
    (&["GuestEntry", "JoinedAnswer"], &[("status", ENTRY_STATUS)]),
    (&["Readiness"], &[("status", one_of(&["ready", "degraded", "unavailable"]))]),
];

/// What a field of this name is wherever nothing else is said of it.
pub(super) const EVERYWHERE: &[(&str, Rule)] = &[
    ("service_id", SERVICE),
    ("staff_id", STAFF),
    ("customer_id", CUSTOMER),
    ("appointment_id", APPOINTMENT),
    ("series_id", SERIES),
    ("waitlist_id", WAITLIST),
    ("resource_id", RESOURCE),
    ("business_id", BUSINESS),
    ("session_id", LOGIN),
    ("user_id", USER),
    ("position", POSITION),
    ("currency", CURRENCY),
    ("handle", HANDLE),
];
