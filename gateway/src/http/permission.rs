//! Who may call what: each operation of the router stands here once, and what is missing nobody may call.

use std::{collections::HashMap, sync::LazyLock};

use domain::{
    api_key::Scope::{
        self, AppointmentsRead, AppointmentsWrite, AuditRead, BusinessRead, BusinessWrite,
        CalendarRead, CalendarWrite, CustomersRead, CustomersWrite,
    },
    user::Role,
};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, without signing in.
    Anybody,
    /// Whoever holds the link in the path.
    Link,
    /// Whoever is signed in, about themselves. Never a program.
    Account,
    /// Owners and admins: who else may do what. Never a program.
    Team,
    /// Owners and admins; programs whose key has the scope; staff as it says.
    With(Scope, Staff),
}
use Access::{Account, Anybody, Link, Team};

/// What the role `staff` may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staff {
    /// Nothing.
    No,
    /// What is on their own calendar: the handler looks.
    Own,
    /// The same as everybody.
    All,
}
use Staff::{All, No, Own};

const fn with(scope: Scope, staff: Staff) -> Access {
    Access::With(scope, staff)
}

/// The one table.
#[rustfmt::skip]
pub(crate) const TABLE: &[(&str, Access)] = &[
    ("GET /healthz", Anybody),
    ("GET /readyz", Anybody),
    ("GET /.well-known/jwks.json", Anybody),
    ("GET /.well-known/evidence-jwks.json", Anybody),
    ("POST /api/v1/auth/register", Anybody),
    ("POST /api/v1/auth/login", Anybody),
    ("POST /api/v1/auth/refresh", Anybody),
    ("POST /api/v1/auth/logout", Anybody),
    ("POST /api/v1/auth/password-reset", Anybody),
    ("POST /api/v1/auth/password-reset/confirm", Anybody),
    ("POST /api/v1/auth/invitations/accept", Anybody),
    ("GET /api/v1/auth/me", Account),
    ("POST /api/v1/auth/password", Account),
    ("GET /api/v1/auth/sessions", Account),
    ("DELETE /api/v1/auth/sessions", Account),
    ("DELETE /api/v1/auth/sessions/{id}", Account),
    ("GET /api/v1/auth/businesses", Account),
    ("POST /api/v1/auth/switch", Account),
    ("GET /api/v1/auth/invitations", Team),
    ("POST /api/v1/auth/invitations", Team),
    ("DELETE /api/v1/auth/invitations/{id}", Team),
    ("GET /api/v1/members", Team),
    ("PATCH /api/v1/members/{id}", Team),
    ("DELETE /api/v1/members/{id}", Team),
    ("GET /api/v1/api-keys", Team),
    ("POST /api/v1/api-keys", Team),
    ("DELETE /api/v1/api-keys/{id}", Team),
    ("GET /api/v1/audit", with(AuditRead, No)),
    ("GET /api/v1/analytics", with(AppointmentsRead, No)),
    ("GET /api/v1/notifications", with(AppointmentsRead, No)),
    ("GET /api/v1/notifications/{id}", with(AppointmentsRead, No)),
    ("GET /api/v1/business/profile", with(BusinessRead, All)),
    ("PATCH /api/v1/business/profile", with(BusinessWrite, No)),
    ("GET /api/v1/business/services", with(BusinessRead, All)),
    ("POST /api/v1/business/services", with(BusinessWrite, No)),
    ("GET /api/v1/business/services/{id}", with(BusinessRead, All)),
    ("PATCH /api/v1/business/services/{id}", with(BusinessWrite, No)),
    ("DELETE /api/v1/business/services/{id}", with(BusinessWrite, No)),
    ("GET /api/v1/business/staff", with(BusinessRead, All)),
    ("POST /api/v1/business/staff", with(BusinessWrite, No)),
    ("GET /api/v1/business/staff/{id}", with(BusinessRead, All)),
    ("PATCH /api/v1/business/staff/{id}", with(BusinessWrite, No)),
    ("DELETE /api/v1/business/staff/{id}", with(BusinessWrite, No)),
    ("GET /api/v1/business/staff/{id}/working-hours", with(CalendarRead, Own)),
    ("PUT /api/v1/business/staff/{id}/working-hours", with(BusinessWrite, No)),
    ("GET /api/v1/business/staff/{id}/time-off", with(CalendarRead, Own)),
    ("POST /api/v1/business/staff/{id}/time-off", with(CalendarWrite, Own)),
    ("DELETE /api/v1/business/staff/{id}/time-off/{time_off_id}", with(CalendarWrite, Own)),
    ("GET /api/v1/business/staff/{id}/calendar-feed", with(CalendarWrite, Own)),
    ("GET /api/v1/business/closures", with(BusinessRead, All)),
    ("POST /api/v1/business/closures", with(BusinessWrite, No)),
    ("DELETE /api/v1/business/closures/{id}", with(BusinessWrite, No)),
    ("GET /api/v1/business/resources", with(BusinessRead, All)),
    ("POST /api/v1/business/resources", with(BusinessWrite, No)),
    ("GET /api/v1/business/resources/{id}", with(BusinessRead, All)),
    ("PATCH /api/v1/business/resources/{id}", with(BusinessWrite, No)),
    ("DELETE /api/v1/business/resources/{id}", with(BusinessWrite, No)),
    ("GET /api/v1/business/templates", with(BusinessRead, All)),
    ("GET /api/v1/business/templates/{kind}/{locale}", with(BusinessRead, All)),
    ("PUT /api/v1/business/templates/{kind}/{locale}", with(BusinessWrite, No)),
    ("DELETE /api/v1/business/templates/{kind}/{locale}", with(BusinessWrite, No)),
    ("POST /api/v1/business/templates/{kind}/{locale}/preview", with(BusinessWrite, No)),
    ("POST /api/v1/business/templates/{kind}/{locale}/test-send", with(BusinessWrite, No)),
    ("POST /api/v1/callbacks/twilio/{id}", Link),
    ("GET /api/v1/public/business", Anybody),
    ("GET /api/v1/public/businesses/{handle}", Anybody),
    ("GET /api/v1/public/slots", Anybody),
    ("GET /api/v1/public/slots/explain", Anybody),
    ("POST /api/v1/public/book", Anybody),
    ("GET /api/v1/public/appointments/{link}", Link),
    ("POST /api/v1/public/appointments/{link}/reschedule", Link),
    ("POST /api/v1/public/appointments/{link}/cancel", Link),
    ("POST /api/v1/public/appointments/{link}/accept", Link),
    ("GET /api/v1/public/appointments/{link}/calendar.ics", Link),
    ("GET /api/v1/public/appointments/{link}/preferences", Link),
    ("PUT /api/v1/public/appointments/{link}/preferences", Link),
    ("GET /api/v1/public/unsubscribe/{link}", Link),
    ("POST /api/v1/public/unsubscribe/{link}", Link),
    ("POST /api/v1/public/waitlist", Anybody),
    ("GET /api/v1/public/waitlist/{link}", Link),
    ("POST /api/v1/public/waitlist/{link}/leave", Link),
    ("GET /api/v1/public/feeds/{file}", Link),
    ("GET /api/v1/calendars/{staff_id}", with(CalendarRead, Own)),
    ("GET /api/v1/calendars/{staff_id}/explain", with(CalendarRead, Own)),
    ("GET /api/v1/waitlist", with(CustomersRead, No)),
    ("DELETE /api/v1/waitlist/{id}", with(CustomersWrite, No)),
    ("GET /api/v1/appointments", with(AppointmentsRead, Own)),
    ("POST /api/v1/appointments", with(AppointmentsWrite, Own)),
    ("GET /api/v1/appointments/{id}", with(AppointmentsRead, Own)),
    ("DELETE /api/v1/appointments/{id}", with(AppointmentsWrite, Own)),
    ("GET /api/v1/appointments/{id}/history", with(AppointmentsRead, Own)),
    ("GET /api/v1/appointments/{id}/evidence", with(AppointmentsRead, No)),
    ("POST /api/v1/appointments/{id}/reschedule", with(AppointmentsWrite, Own)),
    ("POST /api/v1/appointments/{id}/cancel", with(AppointmentsWrite, Own)),
    ("POST /api/v1/appointments/{id}/confirm", with(AppointmentsWrite, Own)),
    ("POST /api/v1/appointments/{id}/decline", with(AppointmentsWrite, Own)),
    ("POST /api/v1/appointments/{id}/complete", with(AppointmentsWrite, Own)),
    ("POST /api/v1/appointments/{id}/no-show", with(AppointmentsWrite, Own)),
    ("POST /api/v1/appointments/{id}/reinstate", with(AppointmentsWrite, Own)),
    ("GET /api/v1/customers", with(CustomersRead, No)),
    ("GET /api/v1/customers/{id}", with(CustomersRead, No)),
    ("PATCH /api/v1/customers/{id}", with(CustomersWrite, No)),
    ("POST /api/v1/customers/{id}/merge", with(CustomersWrite, No)),
];

static BY_OPERATION: LazyLock<HashMap<&str, Access>> =
    LazyLock::new(|| TABLE.iter().copied().collect());

/// Who may call the operation; `None` when nobody has said.
pub(crate) fn access(method: &str, path: &str) -> Option<Access> {
    // HEAD asks for the head of what GET answers.
    let method = if method == "HEAD" { "GET" } else { method };
    BY_OPERATION.get(format!("{method} {path}").as_str()).copied()
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Calling<'a> {
    /// Somebody who is signed in.
    Role(Role),
    /// A program, with what its key is for.
    Program(&'a std::collections::BTreeSet<Scope>),
}

impl Access {
    /// Whether they may.
    pub(crate) fn allows(self, calling: Calling<'_>) -> bool {
        match (self, calling) {
            (Self::Anybody | Self::Link, _)
            | (Self::Account, Calling::Role(_))
            | (Self::Team | Self::With(..), Calling::Role(Role::Owner | Role::Admin)) => true,
            (Self::With(_, staff), Calling::Role(Role::Staff)) => staff != No,
            (Self::With(scope, _), Calling::Program(scopes)) => scopes.contains(&scope),
            (Self::Account | Self::Team, Calling::Program(_))
            | (Self::Team, Calling::Role(Role::Staff)) => false,
        }
    }

    /// Whether it needs a token or key.
    pub(crate) const fn needs_sign_in(self) -> bool {
        matches!(self, Self::Account | Self::Team | Self::With(..))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_the_document_is_in_the_table_and_no_other() {
        let document = serde_json::to_value(crate::http::document()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let listed: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(listed.len(), TABLE.len(), "one stands there twice");
        assert_eq!(documented, listed);
    }

    #[test]
    fn a_program_does_what_its_key_is_for_and_nothing_about_people_who_sign_in() {
        let all: BTreeSet<Scope> = Scope::ALL.into_iter().collect();
        for (operation, access) in TABLE.iter().filter(|(_, access)| access.needs_sign_in()) {
            let allowed = access.allows(Calling::Program(&all));
            assert_eq!(allowed, matches!(access, Access::With(..)), "{operation}");
            assert!(!access.allows(Calling::Program(&BTreeSet::new())), "{operation}");
        }
        assert!(access("GET", "/api/v1/nothing").is_none());
    }
}
