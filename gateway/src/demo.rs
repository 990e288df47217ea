//! A salon to try things on.

use anyhow::Context;
use commands::{
    CommandError,
    business::ChangeBusiness,
    directory::Named,
    identity::{Caller, Register, RegisterRefused},
};
use domain::{
    BusinessId, Currency, Money, ServiceId, StaffId, Zone,
    business::{Business, BusinessCommand, BusinessState, Service, StaffMember},
};
use serde_json::{Value, json};
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{Loaded, StreamKey},
};

use crate::{settings::Settings, system::System};

const EMAIL: &str = "demo@apptremind.example";
const PASSWORD: &str = "demo-salon-password";
const HANDLE: &str = "demo-salon";

/// Makes the salon unless it is there, and tells how to reach it.
pub(crate) async fn seed(settings: &Settings) -> anyhow::Result<Value> {
    let system = System::assemble(settings).await?;
    system.database.check().await?;
    let register = Register {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
        business_name: "Demo Salon".to_owned(),
        timezone: "America/New_York".parse::<Zone>().ok(),
        handle: Some(HANDLE.to_owned()),
    };
    let identity = system.identity(settings).await?;
    let caller = Caller { address: std::net::Ipv4Addr::LOCALHOST.into(), user_agent: None };
    match identity.register(&register, &caller, &Origin::of_our_own()).await {
        // It was made before; the address is only the demo's.
        Ok(_) | Err(CommandError::Refused(RegisterRefused::EmailTaken)) => {}
        Err(error) => return Err(error.into()),
    }
    let found: Result<_, CommandError<std::convert::Infallible>> =
        system.commands.find_business(Named::Handle(HANDLE)).await;
    let business_id = found?.context("the demo salon has another handle now")?;
    let mut state = load(&system, business_id).await?;
    if state.services.is_empty() && state.staff.is_empty() {
        furnish(&system, business_id).await?;
        state = load(&system, business_id).await?;
    }
    let service_id = state.services.keys().next().context("the demo salon offers nothing")?;
    let staff_id = state.staff.keys().next().context("nobody works at the demo salon")?;
    Ok(json!({
        "handle": HANDLE, "business_id": business_id, "email": EMAIL, "password": PASSWORD,
        "service_id": service_id, "staff_id": staff_id,
    }))
}

async fn load(system: &System, business_id: BusinessId) -> anyhow::Result<BusinessState> {
    let key = StreamKey::of::<Business>(business_id);
    let histories = system.log.load(business_id, std::slice::from_ref(&key)).await?;
    let business: Loaded<Business> = histories.fold(&key)?;
    business.state.registered().cloned().context("the demo salon is not registered")
}

async fn furnish(system: &System, business_id: BusinessId) -> anyhow::Result<()> {
    let context = CommandContext {
        business_id,
        actor: Actor::System("demo"),
        now: clock::now(),
        origin: Origin::of_our_own(),
    };
    let change = async |command: BusinessCommand| {
        system.commands.change_business(&ChangeBusiness::from(command), &context).await
    };
    for (name, duration_minutes, amount) in [("Haircut", 45, 4_500), ("Colour", 90, 12_000)] {
        let price = Money { amount, currency: Currency::USD };
        let service =
            Service { buffer_after_minutes: 10, ..Service::new(name, duration_minutes, price) };
        let service_id = ServiceId::new(clock::new_id());
        change(BusinessCommand::AddService { service_id, service }).await?;
    }
    for name in ["Dana", "Lee"] {
        let member = StaffMember { kind: Some("stylist".to_owned()), ..StaffMember::new(name) };
        let staff_id = StaffId::new(clock::new_id());
        change(BusinessCommand::AddStaff { staff_id, member }).await?;
    }
    Ok(())
}
