//! What was set aside, for operators.

use clap::Subcommand;
use reactors::{DeadLetter, DeadLetters, Retried};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{settings::Settings, system::System};

/// What to do about dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum Letters {
    /// Show them, the oldest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one, with all that was said.
    Show {
        /// Which.
        id: Uuid,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send a message once more, or act on an event once more.
    Retry {
        /// Which.
        id: Uuid,
    },
    /// Forget one. What became of its message stays known.
    Drop {
        /// Which.
        id: Uuid,
    },
}

/// Does it; answers what to say, and whether it was done.
pub(crate) async fn run(asked: &Letters, settings: &Settings) -> anyhow::Result<(String, bool)> {
    let system = System::assemble(settings).await?;
    system.database.check().await?;
    let letters = DeadLetters::new(system.log.clone());
    let none = |id: &Uuid| (format!("apptremind: there is no dead letter {id}"), false);
    Ok(match asked {
        Letters::List { json } => (list(&letters.list().await?, *json)?, true),
        Letters::Show { id, json } => match letters.find(*id).await? {
            Some(letter) if *json => (serde_json::to_string_pretty(&described(&letter))?, true),
            Some(letter) => (show(&letter), true),
            None => none(id),
        },
        Letters::Retry { id } => {
            let failed = |error: streams::BoxError| anyhow::anyhow!(error);
            match letters.retry(*id).await.map_err(failed)? {
                Retried::Done => (format!("{id} is tried again"), true),
                Retried::NotThere => none(id),
                Retried::TooLate => (
                    format!("apptremind: it is too late for {id}: nobody needs it any more"),
                    false,
                ),
                Retried::Over => (
                    format!("apptremind: {id} is over: it was sent or called off meanwhile"),
                    false,
                ),
            }
        }
        Letters::Drop { id } if letters.drop(*id).await? => (format!("{id} is forgotten"), true),
        Letters::Drop { id } => none(id),
    })
}

fn list(all: &[DeadLetter], json: bool) -> anyhow::Result<String> {
    if json {
        let all: Vec<Value> = all.iter().map(described).collect();
        return Ok(serde_json::to_string(&all)?);
    }
    let mut lines =
        format!("{:<36} {:<22} {:<20} {:<36} REASON", "ID", "SINCE", "CONSUMER", "SUBJECT");
    for letter in all {
        let DeadLetter { id, consumer, subject_id, reason, created_at, .. } = letter;
        let since = format!("{created_at:.0}");
        // One line each, however much was said.
        let reason: String = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let reason: String = reason.chars().take(80).collect();
        lines.push_str(&format!("\n{id:<36} {since:<22} {consumer:<20} {subject_id:<36} {reason}"));
    }
    Ok(lines)
}

fn described(letter: &DeadLetter) -> Value {
    let DeadLetter { id, business_id, consumer, subject_id, reason, created_at } = letter;
    json!({"id": id, "business_id": business_id, "consumer": consumer, "subject_id": subject_id,
           "reason": reason, "created_at": created_at})
}

fn show(letter: &DeadLetter) -> String {
    let DeadLetter { id, business_id, consumer, subject_id, reason, created_at } = letter;
    format!(
        "id        {id}\nbusiness  {business_id}\nconsumer  {consumer}\nsubject   {subject_id}\n\
         since     {created_at}\nreason    {reason}"
    )
}
