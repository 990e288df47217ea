//! Puts the rooms together.

use std::sync::Arc;

use anyhow::Context;
use commands::{
    Commands, Policy,
    identity::{Identity, Links, Passwords, SigningKey, Tokens},
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

    /// Signing in, with the key from its file.
    pub(crate) fn identity(&self, settings: &Settings) -> anyhow::Result<Identity> {
        let key = signing_key(settings)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let passwords = Passwords::try_new(cores).map_err(|error| anyhow::anyhow!(error))?;
        Ok(Identity::new(self.commands.clone(), passwords, Tokens::try_new(&key)?))
    }

    /// Links for guests, with a key that is derived from the one in the file.
    pub(crate) fn manage_urls(settings: &Settings) -> anyhow::Result<ManageUrls> {
        let links = Links::try_new(&signing_key(settings)?)?;
        Ok(ManageUrls::new(links, settings.public_url.clone()))
    }

    /// Sending, by the mail server of the settings.
    pub(crate) fn notifier(&self, settings: Settings) -> anyhow::Result<Arc<reactors::Notifier>> {
        let links = Arc::new(Self::manage_urls(&settings)?);
        let timing = reactors::Timing::default();
        let log = self.log.clone();
        Ok(Arc::new(reactors::Notifier::try_new(log, settings.smtp, links, timing)?))
    }
}

fn signing_key(settings: &Settings) -> anyhow::Result<SigningKey> {
    let path = &settings.signing_key_file;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context("the folder of the signing key")?;
    }
    SigningKey::read_or_create(path).with_context(|| path.display().to_string())
}
