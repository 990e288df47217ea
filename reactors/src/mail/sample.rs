//! A visit that never takes place, to try words on.

use domain::{
    CustomerId, EmptySlot, Money, ServiceId, StaffId, TimeSlot, Zone,
    appointment::Visit,
    business::{BusinessState, IntakeField, IntakeKind, Service, StaffMember, Versioned},
    notification::Kind,
};
use jiff::{SignedDuration, Timestamp, ToSpan};
use projections::agenda::{Contact, Subject};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::About;

/// How much is known of business and guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Of the business what it says of itself.
    AsItIs,
    /// All that there can be.
    Full,
    /// No more than there must be.
    Bare,
}

/// Everything that a message is rendered with.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(super) kind: Kind,
    business: BusinessState,
    visit: Visit,
    previous: Option<Visit>,
    expires_at: Option<Timestamp>,
    pub(super) contact: Contact,
}

impl Sample {
    /// Tomorrow at ten, of the first service, with the first of the staff.
    pub(crate) fn of(
        kind: Kind,
        business: &BusinessState,
        now: Timestamp,
        shape: Shape,
    ) -> Result<Self, EmptySlot> {
        let mut business = business.clone();
        match shape {
            Shape::AsItIs => {}
            Shape::Full => fill(&mut business),
            Shape::Bare => strip(&mut business),
        }
        let visit = visit(&business, tomorrow(now, &business.profile.value.timezone))?;
        let start = visit.slot.start();
        let earlier = start - SignedDuration::from_hours(1);
        let before = Visit { slot: TimeSlot::try_new(earlier, start)?, ..visit.clone() };
        let told = |when: bool| shape == Shape::Full || (when && shape == Shape::AsItIs);
        let moved = told(kind == Kind::Rescheduled);
        let waits = told(matches!(kind, Kind::Requested | Kind::Offered));
        let gone = told(matches!(kind, Kind::Cancellation | Kind::Declined));
        let contact = contact(&business, &visit, shape, gone);
        let (previous, expires_at) = (moved.then_some(before), waits.then_some(start));
        Ok(Self { kind, business, visit, previous, expires_at, contact })
    }

    pub(super) const fn about(&self) -> About<'_> {
        About {
            business: &self.business,
            visit: &self.visit,
            previous: self.previous.as_ref(),
            expires_at: self.expires_at,
            offered: matches!(self.kind, Kind::Offered),
        }
    }
}

fn tomorrow(now: Timestamp, zone: &Zone) -> Timestamp {
    let today = now.to_zoned(zone.tz().clone()).date();
    let at_ten = today.checked_add(1.day()).unwrap_or(today).at(10, 0, 0, 0);
    at_ten.to_zoned(zone.tz().clone()).map_or(now, |zoned| zoned.timestamp())
}

fn visit(business: &BusinessState, start: Timestamp) -> Result<Visit, EmptySlot> {
    let service = business.services.first_key_value();
    let staff = business.staff.first_key_value();
    let free = Money { amount: 0, currency: business.profile.value.currency };
    let minutes = service.map_or(30, |(_, service)| service.value.duration_minutes);
    Ok(Visit {
        staff_id: staff.map_or(StaffId::new(Uuid::nil()), |(id, _)| *id),
        service_id: service.map_or(ServiceId::new(Uuid::nil()), |(id, _)| *id),
        customer_id: CustomerId::new(Uuid::nil()),
        slot: TimeSlot::lasting(start, minutes).ok_or(EmptySlot)?,
        buffer_before_minutes: 0,
        buffer_after_minutes: 0,
        price: service.map_or(free, |(_, service)| service.value.price),
        reminder_offsets_minutes: vec![],
        offset_seconds: None,
        parts: vec![],
        resources: vec![],
        class: None,
        subjects: 1,
        series: None,
    })
}

fn contact(business: &BusinessState, visit: &Visit, shape: Shape, gone: bool) -> Contact {
    let full = shape == Shape::Full;
    let asked = business.services.get(&visit.service_id).filter(|_| shape != Shape::Bare);
    let fields = asked.iter().flat_map(|service| service.value.intake_fields.iter());
    let answers: Map<String, Value> =
        fields.map(|field| (field.key.clone(), answer(field))).collect();
    // Another than that of the business, so that its clock is shown too.
    let away = ["Asia/Tokyo", "Europe/London"];
    let away = away.into_iter().find(|zone| *zone != business.profile.value.timezone.name());
    Contact {
        name: "Ada Guest".to_owned(),
        email: None,
        phone: None,
        timezone: away.filter(|_| full).map(str::to_owned),
        notes: None,
        answers,
        subjects: full
            .then(|| Subject { name: "Rex".to_owned(), notes: None })
            .into_iter()
            .collect(),
        cancel_reason: gone.then(|| "Something came up.".to_owned()),
    }
}

fn answer(field: &IntakeField) -> Value {
    match field.kind {
        IntakeKind::Boolean => true.into(),
        IntakeKind::Number => 1.into(),
        IntakeKind::Choice => field.choices.first().map_or("one", String::as_str).into(),
        IntakeKind::Date => "2026-03-02".into(),
        IntakeKind::Text | IntakeKind::LongText => "Yes, a little.".into(),
    }
}

/// Says what the business does not say of itself.
fn fill(business: &mut BusinessState) {
    let profile = &mut business.profile.value;
    profile.address.get_or_insert_with(|| "1 Main Street".to_owned());
    profile.contact.get_or_insert_with(|| "+1 555 0100".to_owned());
    let branding = &mut profile.branding;
    branding.logo_url.get_or_insert_with(|| "https://salon.example/logo.png".to_owned());
    branding.sign_off.get_or_insert_with(|| "See you soon".to_owned());
    let price = Money { amount: 4_500, currency: profile.currency };
    if business.services.is_empty() {
        let value = Service::new("Haircut", 45, price);
        business.services.insert(ServiceId::new(Uuid::nil()), Versioned { version: 1, value });
    }
    if business.staff.is_empty() {
        let value = StaffMember::new("Dana");
        business.staff.insert(StaffId::new(Uuid::nil()), Versioned { version: 1, value });
    }
    for service in business.services.values_mut().take(1) {
        let asked = &mut service.value.intake_fields;
        if asked.is_empty() {
            let (key, label) = ("first".to_owned(), "First visit?".to_owned());
            let kind = IntakeKind::Boolean;
            let field = IntakeField { key, label, kind, required: false, choices: vec![] };
            *asked = vec![field].into();
        }
    }
}

/// Says nothing that need not be said.
fn strip(business: &mut BusinessState) {
    let profile = &mut business.profile.value;
    (profile.address, profile.contact) = (None, None);
    profile.branding = domain::business::Branding::default();
    business.services.clear();
    business.staff.clear();
}
