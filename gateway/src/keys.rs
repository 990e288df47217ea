//! The keys that sign access tokens, for operators.

use clap::Subcommand;
use commands::identity::KeyInfo;

use crate::{settings::Settings, system::System};

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a new key. It signs in half a minute, when every process knows it; what the one before it signed
    /// stays good, so nobody is signed out.
    Rotate,
    /// Show the keys that verify tokens, the oldest first.
    List,
}

/// Does it; answers what to print.
pub(crate) async fn run(keys: &Keys, settings: &Settings) -> anyhow::Result<String> {
    let system = System::assemble(settings).await?;
    system.database.check().await?;
    let ring = system.key_ring(settings)?;
    let failed = |error: streams::BoxError| anyhow::anyhow!(error);
    let all = match keys {
        Keys::Rotate => vec![ring.rotate().await.map_err(failed)?],
        Keys::List => ring.list().await.map_err(failed)?,
    };
    let mut lines = format!("{:<18} {:<28} {:<28} ROOT", "KID", "SIGNS FROM", "RETIRES AT");
    for key in all {
        let KeyInfo { kid, signs_from, retires_at, usable } = key;
        let retires = retires_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let root = if usable { "known" } else { "missing: nothing is verified with it" };
        let signs_from = signs_from.to_string();
        lines.push_str(&format!("\n{kid:<18} {signs_from:<28} {retires:<28} {root}"));
    }
    Ok(lines)
}
