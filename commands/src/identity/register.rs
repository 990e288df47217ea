use domain::{
    BusinessId, Decide, FieldError, Fields, UserId, Zone,
    business::{Business, BusinessCommand, BusinessError, Profile},
    login::Means,
    subscription::{Subscription, SubscriptionCommand, Tier},
    team::{Place, Team, TeamCommand},
    user::{Role, User, UserCommand},
};
use streams::{
    Actor, CommandContext, Origin, clock,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};

use super::{
    Caller, Identity, Session,
    invitation::{add_member, add_user},
    reset::check_password,
    session::{self, Entrant, Proof},
};
use crate::{
    CommandError, Done, UsedUp,
    directory::{self, Named},
    email::is_email,
    quota::{self, subject},
};

/// A new owner and their business.
#[derive(Clone)]
pub struct Register {
    /// How they sign in.
    pub email: String,
    /// How they prove it.
    pub password: String,
    /// Shown to guests.
    pub business_name: String,
    /// Where the business is; UTC until they say.
    pub timezone: Option<Zone>,
    /// The name in the public address; made from the business's name when absent.
    pub handle: Option<String>,
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register").finish_non_exhaustive()
    }
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Who.
    pub user_id: UserId,
    /// Their address, as they wrote it.
    pub email: String,
    /// Their business.
    pub business_id: BusinessId,
    /// Its name in the public address.
    pub handle: String,
    /// They are signed in at once.
    pub session: Session,
}

/// Why nobody was registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterRefused {
    /// A field breaks a rule.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// There is an account with this address.
    #[error("there is an account with this e-mail address")]
    EmailTaken,
    /// Too many businesses were made from this network.
    #[error("too many registrations; try again later")]
    TooMany(UsedUp),
    /// Another business has the handle.
    #[error("another business has this handle")]
    HandleTaken,
}

type Refused = CommandError<RegisterRefused>;

/// Made handles get a number when they are taken; after so many they get a random one.
const HANDLES: u32 = 5;

impl Identity {
    /// Makes user and business in one transaction, and signs the user in.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all)]
    pub async fn register(
        &self,
        register: &Register,
        caller: &Caller,
        origin: &Origin,
    ) -> Result<Done<Registered>, Refused> {
        validate(register).map_err(|e| CommandError::Refused(RegisterRefused::Invalid(e)))?;
        let network = (self.policy.registrations_from_network, subject(&[&caller.network()]));
        if let Some(used_up) = quota::take(self.commands.log().database(), &[network]).await? {
            return Err(CommandError::Refused(RegisterRefused::TooMany(used_up)));
        }
        let hash = self.passwords.hash(register.password.clone()).await?;
        let mut tried = 0;
        loop {
            let handle = register.handle.clone().map_or_else(
                || made_handle(&register.business_name, tried),
                |handle| handle.to_ascii_lowercase(),
            );
            match self.try_register(register, &handle, &hash, (caller, origin)).await {
                Err(CommandError::Refused(RegisterRefused::HandleTaken))
                    if register.handle.is_none() && tried < HANDLES =>
                {
                    tried += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_register(
        &self,
        register: &Register,
        handle: &str,
        password_hash: &str,
        (caller, origin): (&Caller, &Origin),
    ) -> Result<Done<Registered>, Refused> {
        let user_id = UserId::new(clock::new_id());
        let business_id = BusinessId::new(clock::new_id());
        let context = CommandContext {
            business_id,
            actor: Actor::User(user_id),
            now: clock::now(),
            origin: origin.clone(),
        };
        let mut unit = begin(register, handle, user_id, context)?;
        let place = Place { role: Role::Owner, staff_id: None };
        let entrant = Entrant { user_id, business_id, place };
        let opening = session::open(&mut unit, entrant, Means::Registration).map_err(refusal)?;
        let mut writing = self.commands.log().begin_system().await.map_err(refusal)?;
        let position = writing.append(&unit).await.map_err(refusal)?;
        let email = register.email.trim();
        add_user(&mut writing, user_id, email, password_hash).await.map_err(refusal)?;
        add_member(&mut writing, entrant).await.map_err(refusal)?;
        directory::list(writing.connection(), business_id, Named::Handle(handle))
            .await
            .map_err(|error| refusal(error.into()))?;
        let session =
            self.write_session(writing.connection(), opening, Proof::Here, caller).await?;
        writing.commit().await.map_err(refusal)?;
        let registered = Registered {
            user_id,
            email: register.email.trim().to_owned(),
            business_id,
            handle: handle.to_owned(),
            session,
        };
        Ok(Done::new(registered, position))
    }
}

fn validate(register: &Register) -> Result<(), Vec<FieldError>> {
    let mut fields = Fields::default();
    fields.check(is_email(register.email.trim()), "email", "must be an e-mail address");
    check_password(&mut fields, "password", &register.password);
    fields.line("business_name", &register.business_name, 120);
    fields.done()
}

/// A handle from a name: `Salon Dana` becomes `salon-dana`, then `salon-dana-2`.
fn made_handle(name: &str, tried: u32) -> String {
    let mut handle: String = slug::slugify(name).chars().take(30).collect();
    if handle.len() < 3 {
        handle = format!("business-{handle}");
    }
    let handle = handle.trim_matches('-');
    match tried {
        0 => handle.to_owned(),
        HANDLES => format!("{handle}-{:08x}", rand::random::<u32>()),
        again => format!("{handle}-{}", again + 1),
    }
}

fn empty<A: Decide>(id: impl std::fmt::Display) -> Loaded<A> {
    Loaded { key: StreamKey::of::<A>(id), state: A::default(), sequence: 0 }
}

/// The first events of business, plan and user.
fn begin(
    register: &Register,
    handle: &str,
    user_id: UserId,
    context: CommandContext,
) -> Result<UnitOfWork, Refused> {
    let business_id = context.business_id;
    let zone = register.timezone.clone().unwrap_or(Zone::UTC);
    let profile = Profile::new(register.business_name.trim().to_owned(), handle.to_owned(), zone);
    let business: Loaded<Business> = empty(business_id);
    let plan: Loaded<Subscription> = empty(business_id);
    let user: Loaded<User> = empty(user_id);
    let team: Loaded<Team> = empty(business_id);
    let opened = business.state.decide(BusinessCommand::Register { profile }).map_err(invalid)?;
    let ours = |error: streams::BoxError| CommandError::Store(error);
    let activated = plan
        .state
        .decide(SubscriptionCommand::Activate { tier: Tier::Free })
        .map_err(|error| ours(error.into()))?;
    let created = user
        .state
        .decide(UserCommand::Create { business_id, role: Role::Owner })
        .map_err(|error| ours(error.into()))?;
    let place = Place { role: Role::Owner, staff_id: None };
    let joined = team
        .state
        .decide(TeamCommand::Join { user_id, place })
        .map_err(|error| ours(error.into()))?;
    let mut unit = UnitOfWork::new(context);
    unit.append(&business, opened).map_err(refusal)?;
    unit.append(&plan, activated).map_err(refusal)?;
    unit.append(&user, created).map_err(refusal)?;
    unit.append(&team, joined).map_err(refusal)?;
    Ok(unit)
}

fn invalid(error: BusinessError) -> Refused {
    match error {
        BusinessError::Invalid(errors) => CommandError::Refused(RegisterRefused::Invalid(errors)),
        other @ (BusinessError::AlreadyRegistered
        | BusinessError::HandleTaken
        | BusinessError::NotFound
        | BusinessError::Stale { .. }
        | BusinessError::Full { .. }) => CommandError::Store(other.into()),
    }
}

fn refusal(error: CommitError) -> Refused {
    match error {
        CommitError::Taken { constraint } if constraint == "app_user_email" => {
            CommandError::Refused(RegisterRefused::EmailTaken)
        }
        CommitError::Taken { .. } => CommandError::Refused(RegisterRefused::HandleTaken),
        CommitError::Store(error) => CommandError::store(error),
        // Every id is new, so there is nobody to race with.
        error @ (CommitError::Conflict
        | CommitError::TimeReserved
        | CommitError::Repeat
        | CommitError::Limit { .. }) => CommandError::Store(error.into()),
    }
}
