//! Puts the rooms together.

use std::sync::Arc;

use anyhow::Context;
use commands::{
    Commands, Policy,
    identity::{Identity, KeyRing, Links, Passwords, Resets, RootKeys, Seals},
};
use streams::{Database, Nudge, broker::Broker, log::Log};

use crate::{manage::ManageUrls, settings::Settings};

/// What commands and queries need.
#[derive(Clone)]
pub(crate) struct System {
    pub(crate) database: Database,
    pub(crate) broker: Broker,
    pub(crate) nudge: Nudge,
    pub(crate) log: Log,
    pub(crate) commands: Commands,
}

impl System {
    /// Prepares connections; neither Postgres nor NATS need answer now.
    pub(crate) async fn assemble(settings: &Settings) -> anyhow::Result<Self> {
        let url = settings.database_url.expose();
        let database = Database::new(url, settings.database_connections)?;
        let broker = Broker::connect(settings.nats_url.expose())
            .await
            .map_err(|error| anyhow::anyhow!(error).context("APPTREMIND_NATS_URL"))?
            .with_replicas(settings.nats_replicas);
        let nudge = Nudge::new(broker.clone());
        let log = Log::new(database.clone(), nudge.clone());
        let policy = Policy { free_monthly_cap: settings.free_monthly_cap };
        let commands = Commands::new(log.clone(), policy);
        Ok(Self { database, broker, nudge, log, commands })
    }

    /// Signing in, with keys that follow from those in the file.
    pub(crate) async fn identity(&self, settings: &Settings) -> anyhow::Result<Identity> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wrong = |error: streams::BoxError| anyhow::anyhow!(error);
        let passwords = Passwords::try_new(cores, settings.password_cost);
        let passwords = passwords.map_err(wrong).context("APPTREMIND_ARGON2_MEMORY_KIB")?;
        let (ring, links) = (self.key_ring(settings)?, links(settings)?);
        let policy = settings.rates.policy.clone();
        let commands = self.commands.clone();
        Identity::open(commands, passwords, ring, links, policy).await.map_err(wrong)
    }

    /// The keys that sign tokens.
    pub(crate) fn key_ring(&self, settings: &Settings) -> anyhow::Result<KeyRing> {
        let roots = root_keys(settings)?;
        Ok(KeyRing::new(roots, self.database.clone(), settings.signing_key_age))
    }

    /// Links for guests, with a key that follows from the one in the file.
    pub(crate) fn manage_urls(settings: &Settings) -> anyhow::Result<ManageUrls> {
        Ok(ManageUrls::new(links(settings)?, settings.public_url.clone()))
    }

    /// What is signed for others to keep, with a key that follows from the one in the file.
    pub(crate) fn seals(settings: &Settings) -> anyhow::Result<Seals> {
        Ok(Seals::try_new(&root_keys(settings)?)?)
    }

    /// Wishes for another password.
    pub(crate) fn resets(&self, settings: &Settings) -> anyhow::Result<Resets> {
        Ok(Resets::new(self.commands.clone(), links(settings)?))
    }

    /// Words of a business's own, tried and mailed by the mail server of the settings.
    pub(crate) fn templates(settings: &Settings) -> anyhow::Result<reactors::Templates> {
        let links = Arc::new(Self::manage_urls(settings)?);
        Ok(reactors::Templates::try_new(settings.smtp.clone(), links)?)
    }

    /// Sending, by the mail server of the settings.
    pub(crate) fn notifier(&self, settings: Settings) -> anyhow::Result<Arc<reactors::Notifier>> {
        let links = Arc::new(Self::manage_urls(&settings)?);
        let timing = reactors::Timing::default();
        let (log, rates) = (self.log.clone(), settings.send_rates);
        Ok(Arc::new(reactors::Notifier::try_new(
            log,
            settings.smtp,
            settings.sms,
            links,
            rates,
            timing,
        )?))
    }
}

fn links(settings: &Settings) -> anyhow::Result<Links> {
    Ok(Links::try_new(&root_keys(settings)?)?)
}

fn root_keys(settings: &Settings) -> anyhow::Result<RootKeys> {
    let path = &settings.signing_key_file;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context("the folder of the signing key")?;
    }
    RootKeys::read_or_create(path).with_context(|| path.display().to_string())
}
