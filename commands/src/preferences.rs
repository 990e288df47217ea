//! How guests want to be reminded, as they say by a link of one of their visits.

use domain::{
    AppointmentId, CustomerId, FieldError, Fields,
    appointment::Appointment,
    business::{Business, check_each_once},
    customer::{Customer, CustomerCommand},
    notification::Channel,
};
use streams::{
    CommandContext,
    log::{Loaded, StreamKey, UnitOfWork},
};

use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    customer::{CustomerRefused, Tried, append, store_wish},
    error::Attempt,
};

/// What a guest wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReminderWish {
    /// To be reminded by these alone, of those that the business uses; `None` by whatever it uses.
    By(Option<Vec<Channel>>),
    /// Not to be reminded by this one any more.
    NotBy(Channel),
}

/// How a guest is reminded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preferences {
    /// Who they are.
    pub customer_id: CustomerId,
    /// By these alone, of those that the business uses; `None` by whatever it uses.
    pub reminder_channels: Option<Vec<Channel>>,
    /// What the business uses for visits such as theirs.
    pub offered: Vec<Channel>,
}

impl ReminderWish {
    fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut fields = Fields::default();
        if let Self::By(Some(channels)) = self {
            check_each_once(&mut fields, "reminder_channels", channels);
        }
        fields.done()
    }

    fn applied_to(&self, now: Option<&[Channel]>) -> Option<Vec<Channel>> {
        match self {
            Self::By(channels) => channels.clone(),
            Self::NotBy(channel) => {
                let now = now.unwrap_or(&Channel::ALL);
                Some(now.iter().copied().filter(|one| one != channel).collect())
            }
        }
    }
}

impl Commands {
    /// How the guest of a visit is reminded.
    ///
    /// # Errors
    /// When there is no such visit or guest any more, or the store.
    pub async fn preferences(
        &self,
        appointment_id: AppointmentId,
        context: &CommandContext,
    ) -> Result<Preferences, CommandError<CustomerRefused>> {
        let attempt = || async { Ok(self.known_preferences(appointment_id, context).await?.0) };
        until_decided("preferences", attempt, |_| None).await
    }

    /// Reminds the guest of a visit otherwise from now on, of this visit and of all others of theirs with the
    /// business. What is as they want it already stays.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(appointment.id = %appointment_id))]
    pub async fn prefer(
        &self,
        appointment_id: AppointmentId,
        wish: &ReminderWish,
        context: &CommandContext,
    ) -> Result<Done<Preferences>, CommandError<CustomerRefused>> {
        let invalid = |errors| CommandError::Refused(CustomerRefused::Invalid(errors));
        wish.validate().map_err(invalid)?;
        let _turn = self.turn(context.business_id).await?;
        let attempt = || self.try_prefer(appointment_id, wish, context);
        let done = until_decided("prefer", attempt, |_| None).await?;
        metrics::counter!("apptremind_preferences_changed_total").increment(1);
        Ok(done)
    }

    async fn try_prefer(
        &self,
        appointment_id: AppointmentId,
        wish: &ReminderWish,
        context: &CommandContext,
    ) -> Tried<Done<Preferences>> {
        let (mut preferences, customer) = self.known_preferences(appointment_id, context).await?;
        let wanted = wish.applied_to(preferences.reminder_channels.as_deref());
        let mut unit = UnitOfWork::new(context.clone());
        let prefer = CustomerCommand::Prefer { reminder_channels: wanted.clone() };
        let version = append(&mut unit, &customer, [prefer])?;
        preferences.reminder_channels = wanted;
        if unit.is_empty() {
            let key = StreamKey::of::<Customer>(preferences.customer_id);
            let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
            let position = self.last_position(&histories, &key).await?;
            return Ok(Done::new(preferences, position));
        }
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        let (id, wanted) = (preferences.customer_id, preferences.reminder_channels.as_deref());
        store_wish(writing.connection(), id, wanted, context).await?;
        sqlx::query("UPDATE customer SET version = $3 WHERE business_id = $1 AND customer_id = $2")
            .bind(context.business_id.uuid())
            .bind(id.uuid())
            .bind(version)
            .execute(writing.connection())
            .await?;
        writing.commit().await?;
        Ok(Done::new(preferences, position))
    }

    async fn known_preferences(
        &self,
        appointment_id: AppointmentId,
        context: &CommandContext,
    ) -> Tried<(Preferences, Loaded<Customer>)> {
        let not_found = || Attempt::Refused(CustomerRefused::NotFound);
        let business_key = StreamKey::of::<Business>(context.business_id);
        let key = StreamKey::of::<Appointment>(appointment_id);
        let keys = [business_key.clone(), key.clone()];
        let histories = self.log.load(context.business_id, &keys).await?;
        let business: Loaded<Business> = histories.fold(&business_key)?;
        let appointment: Loaded<Appointment> = histories.fold(&key)?;
        let (visit, _) = appointment.state.known().ok_or_else(not_found)?;
        let stands = self.customer_row(visit.customer_id, context).await?;
        let customer_id = stands.ok_or_else(not_found)?.unwrap_or(visit.customer_id);
        let key = StreamKey::of::<Customer>(customer_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let customer: Loaded<Customer> = histories.fold(&key)?;
        let policy = business.state.registered().map(|known| known.reminders(visit.service_id));
        let preferences = Preferences {
            customer_id,
            reminder_channels: customer.state.reminder_channels().map(<[Channel]>::to_vec),
            offered: policy.map(|policy| policy.channels).unwrap_or_default(),
        };
        Ok((preferences, customer))
    }
}
