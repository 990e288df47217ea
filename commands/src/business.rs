//! The business's own edits: profile, services, staff, closures, resources.

use domain::{
    Aggregate, Decide, FieldError, StaffId,
    business::{Business, BusinessCommand, BusinessError, BusinessEvent, BusinessState},
    staff_schedule::{Hours, StaffSchedule, StaffScheduleEvent},
};
use streams::{
    CommandContext, Cursor, feed,
    log::{CommitError, Histories, Loaded, StreamKey, UnitOfWork, Writing},
};

use crate::{
    CommandError, Commands, Done,
    again::until_decided,
    directory::{self, Named},
    email::is_email,
    error::Attempt,
    url,
};

/// What is changed, and what comes with it outside the events.
#[derive(Debug, Clone)]
pub struct ChangeBusiness {
    /// The change.
    pub command: BusinessCommand,
    /// The e-mail address of the staff member that is added or changed: personal, so not in
    /// events. `None` leaves it, `Some(None)` removes it.
    pub staff_email: Option<Option<String>>,
}

impl From<BusinessCommand> for ChangeBusiness {
    fn from(command: BusinessCommand) -> Self {
        Self { command, staff_email: None }
    }
}

impl Commands {
    /// Changes profile, services, roster, closures or resources; answers the business as it is afterwards.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(business.id = %context.business_id))]
    pub async fn change_business(
        &self,
        change: &ChangeBusiness,
        context: &CommandContext,
    ) -> Result<Done<BusinessState>, CommandError<BusinessError>> {
        if let Some(Some(email)) = &change.staff_email
            && !is_email(email)
        {
            let message = "must be an e-mail address".to_owned();
            let error = FieldError { field: "email".to_owned(), message };
            return Err(CommandError::Refused(BusinessError::Invalid(vec![error])));
        }
        if let Some(logo) = logo_of(&change.command)
            && !url::is_public(logo)
        {
            let message = "must be an address that anybody can fetch by https".to_owned();
            let error = FieldError { field: "branding.logo_url".to_owned(), message };
            return Err(CommandError::Refused(BusinessError::Invalid(vec![error])));
        }
        let _turn = self.turn(context.business_id).await?;
        // Ids in the directory are new, so what can be taken is the handle.
        let rule = |error: &CommitError| {
            matches!(error, CommitError::Taken { .. }).then_some(BusinessError::HandleTaken)
        };
        until_decided("change_business", || self.try_change(change, context), rule).await
    }

    async fn try_change(
        &self,
        change: &ChangeBusiness,
        context: &CommandContext,
    ) -> Result<Done<BusinessState>, Attempt<BusinessError>> {
        let key = StreamKey::of::<Business>(context.business_id);
        let histories = self.log.load(context.business_id, std::slice::from_ref(&key)).await?;
        let before: Loaded<Business> = histories.fold(&key)?;
        let events = before.state.decide(change.command.clone()).map_err(Attempt::Refused)?;
        let mut after = before.state.clone();
        for event in &events {
            after.apply(event.clone());
        }
        let state = after.registered().ok_or(Attempt::Refused(BusinessError::NotFound))?.clone();
        if events.is_empty() && change.staff_email.is_none() {
            let position = self.last_position(&histories, &key).await?;
            return Ok(Done::new(state, position));
        }
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&before, events.clone())?;
        for event in &events {
            if let BusinessEvent::StaffAdded { staff_id, .. } = event {
                begin_schedule(&mut unit, *staff_id)?;
            }
        }
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        let old_handle = before.state.registered().map(|b| b.profile.value.handle.clone());
        for event in &events {
            list(&mut writing, context, event, old_handle.as_deref()).await?;
        }
        if let (Some(email), Some(staff_id)) = (&change.staff_email, staff_of(&change.command)) {
            keep_email(&mut writing, context, staff_id, email.as_deref()).await?;
        }
        if let BusinessCommand::RemoveStaff { staff_id } = &change.command {
            forget_email(&mut writing, context, *staff_id).await?;
        }
        writing.commit().await?;
        Ok(Done::new(state, position))
    }
}

/// A new staff member works office hours until somebody says otherwise.
fn begin_schedule(unit: &mut UnitOfWork, staff_id: StaffId) -> Result<(), CommitError> {
    let key = StreamKey::of::<StaffSchedule>(staff_id);
    unit.append_after(&key, 0, vec![StaffScheduleEvent::HoursSet { hours: Hours::office() }])
}

impl Commands {
    /// What the command answered that made the stream what it is: for one that finds it already so.
    pub(crate) async fn last_position(
        &self,
        histories: &Histories,
        key: &StreamKey,
    ) -> Result<Cursor, sqlx::Error> {
        let Some(last) = histories.events(key).last() else { return Ok(Cursor::START) };
        feed::end_of_transaction(self.log.database().system(), last.cursor).await
    }
}

/// The logo that is to be shown from now on.
fn logo_of(command: &BusinessCommand) -> Option<&str> {
    let BusinessCommand::ChangeProfile { change, .. } = command else { return None };
    change.branding.as_ref()?.logo_url.as_ref()?.as_deref()
}

const fn staff_of(command: &BusinessCommand) -> Option<StaffId> {
    match command {
        BusinessCommand::AddStaff { staff_id, .. }
        | BusinessCommand::ChangeStaff { staff_id, .. }
        | BusinessCommand::RemoveStaff { staff_id } => Some(*staff_id),
        BusinessCommand::Register { .. }
        | BusinessCommand::ChangeProfile { .. }
        | BusinessCommand::AddService { .. }
        | BusinessCommand::ChangeService { .. }
        | BusinessCommand::ArchiveService { .. }
        | BusinessCommand::AddClosure { .. }
        | BusinessCommand::RemoveClosure { .. }
        | BusinessCommand::AddResource { .. }
        | BusinessCommand::ChangeResource { .. }
        | BusinessCommand::RemoveResource { .. } => None,
    }
}

/// Keeps the public directory in step with the event.
async fn list(
    writing: &mut Writing,
    context: &CommandContext,
    event: &BusinessEvent,
    old_handle: Option<&str>,
) -> Result<(), CommitError> {
    let (connection, business_id) = (writing.connection(), context.business_id);
    match event {
        BusinessEvent::Registered { profile } | BusinessEvent::ProfileChanged { profile } => {
            let handle = profile.handle.as_str();
            if let Some(old) = old_handle.filter(|old| *old != handle) {
                directory::unlist(connection, business_id, Named::Handle(old)).await?;
            }
            if old_handle != Some(handle) {
                directory::list(connection, business_id, Named::Handle(handle)).await?;
            }
        }
        BusinessEvent::ServiceAdded { service_id, .. } => {
            directory::list(connection, business_id, Named::Service(*service_id)).await?;
        }
        BusinessEvent::StaffAdded { staff_id, .. } => {
            directory::list(connection, business_id, Named::Staff(*staff_id)).await?;
        }
        // What is gone stays listed: a retry of an old booking still finds its answer.
        BusinessEvent::ServiceChanged { .. }
        | BusinessEvent::ServiceArchived { .. }
        | BusinessEvent::StaffChanged { .. }
        | BusinessEvent::StaffRemoved { .. }
        | BusinessEvent::ClosureAdded { .. }
        | BusinessEvent::ClosureRemoved { .. }
        | BusinessEvent::ResourceAdded { .. }
        | BusinessEvent::ResourceChanged { .. }
        | BusinessEvent::ResourceRemoved { .. } => {}
    }
    Ok(())
}

async fn forget_email(
    writing: &mut Writing,
    context: &CommandContext,
    staff_id: StaffId,
) -> Result<(), CommitError> {
    sqlx::query("DELETE FROM staff_private WHERE staff_id = $1 AND business_id = $2")
        .bind(staff_id.uuid())
        .bind(context.business_id.uuid())
        .execute(writing.connection())
        .await?;
    Ok(())
}

async fn keep_email(
    writing: &mut Writing,
    context: &CommandContext,
    staff_id: StaffId,
    email: Option<&str>,
) -> Result<(), CommitError> {
    sqlx::query(
        "INSERT INTO staff_private (staff_id, business_id, email) VALUES ($1, $2, $3)
         ON CONFLICT (staff_id) DO UPDATE SET email = excluded.email
         WHERE staff_private.business_id = excluded.business_id",
    )
    .bind(staff_id.uuid())
    .bind(context.business_id.uuid())
    .bind(email)
    .execute(writing.connection())
    .await?;
    Ok(())
}
