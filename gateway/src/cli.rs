//! The command line. Data goes to stdout, messages to stderr.

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use projections::rebuild::Options;
use streams::{Cursor, Database, DatabaseError};

use crate::{
    dead_letters::{self, Letters},
    demo,
    events::{self, Events},
    http,
    keys::{self, Keys},
    replay::{self, Which},
    serve::{self, Role},
    settings::{Effective, Settings, SettingsError},
    time_zones,
};

/// Appointments for small businesses: guests book, reminders go out.
#[derive(Debug, Parser)]
#[command(name = "apptremind", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve {
        /// What this process does; everything when absent.
        #[arg(long, value_delimiter = ',', value_enum)]
        roles: Vec<Role>,
    },
    /// Bring the database schema up to date.
    Migrate,
    /// Make a salon to try things on, once, and print how to reach it as JSON.
    Demo,
    /// Show how far each read model has come.
    Projections {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the promises on the running system; exits 5 when one is broken.
    Doctor {
        /// Instead, list the visits to come whose local time is not what was agreed, by the time-zone
        /// data of this build; exits 5 when there is one.
        #[arg(long)]
        time_zones: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build a read model anew from the log, compare it with the live one, and swap it in.
    Replay {
        /// Which one.
        #[arg(value_enum)]
        model: Which,
        /// Only compare; exits 5 when the live model differs from the log.
        #[arg(long)]
        verify: bool,
        /// Trust rows that have no event behind this position: they are copied, which is faster.
        #[arg(long, value_name = "POSITION")]
        from: Option<Cursor>,
        /// Print JSON, one object for each model.
        #[arg(long)]
        json: bool,
    },
    /// The keys that sign access tokens.
    #[command(subcommand)]
    Keys(Keys),
    /// Print the settings as they are in force, without secrets.
    Config {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What was set aside: messages that were given up, and events that could not be acted on.
    #[command(subcommand)]
    DeadLetters(Letters),
    /// Look into the log.
    #[command(subcommand)]
    Events(Events),
    /// Print the API document.
    Openapi,
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

const FAILED: u8 = 1;
const CONFIGURATION: u8 = 3;
const UNREACHABLE: u8 = 4;
const CHECK_FAILED: u8 = 5;

/// Does what was asked and says how it went.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    match dispatch(cli.command).await {
        Ok(code) => code,
        Err(error) => {
            say(&format!("apptremind: {error:#}"));
            ExitCode::from(code_of(&error))
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<SettingsError>() {
        return CONFIGURATION;
    }
    match error.downcast_ref::<DatabaseError>() {
        Some(DatabaseError::Address(_)) => CONFIGURATION,
        Some(DatabaseError::Unreachable(_)) => UNREACHABLE,
        Some(DatabaseError::TransactionsAhead { .. }) => CHECK_FAILED,
        Some(DatabaseError::Migration(_) | DatabaseError::NotMigrated) | None => FAILED,
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Openapi => print(&http::document().to_pretty_json()?)?,
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "apptremind",
                &mut std::io::stdout(),
            );
        }
        Command::Serve { roles } => {
            let all = Role::value_variants();
            let roles = if roles.is_empty() { all } else { &roles };
            serve::serve(Settings::from_environment()?, roles).await?;
        }
        Command::Migrate => {
            let settings = Settings::from_environment()?;
            Database::migrate(settings.migrate_database_url.expose()).await?;
            say("the schema is up to date");
        }
        Command::Demo => print(&demo::seed(&Settings::from_environment()?).await?.to_string())?,
        Command::Keys(asked) => print(&keys::run(&asked, &Settings::from_environment()?).await?)?,
        Command::Config { json } => print(&config(&Settings::from_environment()?, json)?)?,
        Command::Projections { json } => projections(json).await?,
        Command::Doctor { time_zones: true, json } => return time_zones(json).await,
        Command::Doctor { time_zones: false, json } => return doctor(json).await,
        Command::DeadLetters(asked) => return letters(&asked).await,
        Command::Events(Events::Show { stream, as_of, json }) => {
            print(&events::show(&database().await?, &stream, as_of, json).await?)?;
        }
        Command::Replay { model, verify, from, json } => {
            return rebuild(model, Options { verify, from }, json).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn config(settings: &Settings, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(&settings.effective)?);
    }
    let line = |setting: &Effective| {
        let from = if setting.source == "environment" { "" } else { setting.source };
        let note = if from.is_empty() { String::new() } else { format!("  # {from}") };
        format!("{}={}{note}", setting.name, setting.value)
    };
    Ok(settings.effective.iter().map(line).collect::<Vec<_>>().join("\n"))
}

async fn database() -> anyhow::Result<Database> {
    let settings = Settings::from_environment()?;
    let database = Database::patient(settings.database_url.expose())?;
    database.check().await?;
    Ok(database)
}

async fn letters(asked: &Letters) -> anyhow::Result<ExitCode> {
    let (said, done) = dead_letters::run(asked, &Settings::from_environment()?).await?;
    if done {
        print(&said)?
    } else {
        say(&said)
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn projections(json: bool) -> anyhow::Result<()> {
    let all = projections::status(&database().await?, 1_000_000).await?;
    if json {
        return print(&serde_json::to_string(&all)?);
    }
    let mut lines = format!("{:<24} {:>18} {:>18} {:>9}", "CONSUMER", "CHECKPOINT", "HEAD", "LAG");
    for model in all {
        lines.push_str(&format!(
            "\n{:<24} {:>18} {:>18} {:>9}",
            model.consumer,
            model.checkpoint.to_string(),
            model.head.to_string(),
            model.lag
        ));
        if let Some(reason) = model.halted {
            lines.push_str(&format!("\n  stopped: {reason}"));
        }
    }
    print(&lines)
}

async fn doctor(json: bool) -> anyhow::Result<ExitCode> {
    let findings = projections::doctor::examine(&database().await?).await?;
    if json {
        print(&serde_json::to_string(&findings)?)?;
    } else {
        for finding in &findings {
            let example = finding.example.as_deref().unwrap_or_default();
            let mark = if finding.broken == 0 { "holds " } else { "BROKEN" };
            let count = if finding.broken == 0 {
                String::new()
            } else {
                format!(": {} such as {example}", finding.broken)
            };
            print(&format!("{mark}  {}{count}", finding.invariant))?;
        }
    }
    let broken = findings.iter().any(|finding| finding.broken > 0);
    Ok(if broken { ExitCode::from(CHECK_FAILED) } else { ExitCode::SUCCESS })
}

async fn time_zones(json: bool) -> anyhow::Result<ExitCode> {
    let impact = projections::time_zones::impact(&database().await?).await?;
    print(&if json { serde_json::to_string(&impact)? } else { time_zones::in_words(&impact) })?;
    Ok(if impact.moved > 0 { ExitCode::from(CHECK_FAILED) } else { ExitCode::SUCCESS })
}

async fn rebuild(which: Which, options: Options, json: bool) -> anyhow::Result<ExitCode> {
    let database = replay::database().await?;
    let mut code = ExitCode::SUCCESS;
    for model in which.models() {
        let outcome = replay::run(&database, *model, options).await?;
        if json {
            print(&serde_json::to_string(&outcome)?)?;
        } else {
            print(&replay::in_words(&outcome))?;
        }
        if options.verify && !outcome.equal {
            code = ExitCode::from(CHECK_FAILED);
        }
    }
    Ok(code)
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

fn say(text: &str) {
    // There is nobody left to tell when stderr is closed.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
