use std::{borrow::Cow, fmt, str::FromStr};

use domain::{
    Aggregate, AppointmentId, BusinessId, CustomerId, NotificationId, StaffId, TimeOffId,
    appointment::Appointment, business::Business, customer::Customer, notification::Notification,
    staff_calendar::StaffCalendar, staff_schedule::StaffSchedule,
};
use serde::Serialize;
use streams::consumer::Projector;
use uuid::Uuid;

use crate::{
    agenda::{AgendaChanges, AgendaProjector},
    audit::{AuditChanges, AuditProjector},
    availability::{AvailabilityChanges, AvailabilityProjector},
    changes::Changes,
    notifications::{NotificationsChanges, NotificationsProjector},
};

/// A read model that can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the modules of these names say it")]
pub enum ReadModel {
    Availability,
    Agenda,
    Notifications,
    Audit,
}

impl ReadModel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Availability, Self::Agenda, Self::Notifications, Self::Audit];

    /// Its schema.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => AvailabilityProjector::SCHEMA,
            Self::Agenda => AgendaProjector::SCHEMA,
            Self::Notifications => NotificationsProjector::SCHEMA,
            Self::Audit => AuditProjector::SCHEMA,
        }
    }
}

impl fmt::Display for ReadModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A table of a read model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The columns of its primary key.
    pub(crate) key: &'static [&'static str],
    /// The type of the aggregate that its rows come from, each from one stream; `None` when they come from
    /// several.
    pub(crate) kind: Option<&'static str>,
    /// The id of that stream, as SQL over a row `t`; with the type and a colon before it when there are several.
    pub(crate) stream: &'static str,
    /// Where the row with this key comes from.
    pub(crate) origin: fn(&[String]) -> Option<Origin>,
}

/// The stream of a row, and what in its events names the row when they are not all about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) kind: Cow<'static, str>,
    pub(crate) stream_id: String,
    pub(crate) named: Vec<String>,
}

/// A projector whose model can be rebuilt.
pub(crate) trait Rebuilt: Projector {
    /// What its events change.
    type Changes: Changes;
    /// Its tables, in the order in which the projector writes them: so they are locked.
    const TABLES: &'static [Table];
}

fn uuid(key: &[String]) -> Option<Uuid> {
    Uuid::from_str(key.last()?).ok()
}

fn whole<A: Aggregate>(stream_id: impl fmt::Display) -> Origin {
    Origin { kind: A::TYPE.into(), stream_id: stream_id.to_string(), named: vec![] }
}

impl Rebuilt for AvailabilityProjector {
    type Changes = AvailabilityChanges;
    const TABLES: &'static [Table] = &[
        Table {
            name: "business",
            key: &["business_id"],
            kind: Some(Business::TYPE),
            stream: "'biz_' || replace(t.business_id::text, '-', '')",
            origin: |key| Some(whole::<Business>(BusinessId::new(uuid(key)?))),
        },
        Table {
            name: "working_hours",
            key: &["staff_id"],
            kind: Some(StaffSchedule::TYPE),
            stream: "'staff_' || replace(t.staff_id::text, '-', '')",
            origin: |key| Some(whole::<StaffSchedule>(StaffId::new(uuid(key)?))),
        },
        Table {
            name: "busy",
            key: &["stream_id", "source_id"],
            kind: Some(StaffCalendar::TYPE),
            stream: "t.stream_id",
            origin: |key| {
                let source = uuid(key)?;
                let named = vec![
                    AppointmentId::new(source).to_string(),
                    TimeOffId::new(source).to_string(),
                ];
                Some(Origin { named, ..whole::<StaffCalendar>(key.first()?) })
            },
        },
    ];
}

impl Rebuilt for AgendaProjector {
    type Changes = AgendaChanges;
    const TABLES: &'static [Table] = &[
        Table {
            name: "appointment",
            key: &["appointment_id"],
            kind: Some(Appointment::TYPE),
            stream: "'appt_' || replace(t.appointment_id::text, '-', '')",
            origin: |key| Some(whole::<Appointment>(AppointmentId::new(uuid(key)?))),
        },
        Table {
            name: "merged_customer",
            key: &["customer_id"],
            kind: Some(Customer::TYPE),
            stream: "'cust_' || replace(t.customer_id::text, '-', '')",
            origin: |key| Some(whole::<Customer>(CustomerId::new(uuid(key)?))),
        },
    ];
}

impl Rebuilt for NotificationsProjector {
    type Changes = NotificationsChanges;
    const TABLES: &'static [Table] = &[Table {
        name: "notification",
        key: &["notification_id"],
        kind: Some(Notification::TYPE),
        stream: "'ntf_' || replace(t.notification_id::text, '-', '')",
        origin: |key| Some(whole::<Notification>(NotificationId::new(uuid(key)?))),
    }];
}

impl Rebuilt for AuditProjector {
    type Changes = AuditChanges;
    const TABLES: &'static [Table] = &[Table {
        name: "entry",
        key: &["event_id"],
        kind: None,
        stream: "t.aggregate_type || ':' || t.aggregate_id",
        // The key is that of an event itself, and the row says of which stream.
        origin: |_| None,
    }];
}
