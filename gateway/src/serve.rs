//! The long-running process: the roles that it was asked for, until it is told to stop.

use std::time::Duration;

use anyhow::Context;
use axum::{Router, routing::get};
use clap::ValueEnum;
use commands::{Commands, identity::Identity};
use futures::future::BoxFuture;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use projections::{
    Positions,
    agenda::Agenda,
    audit::Audit,
    availability::{Answers, Availability},
    notifications::Notifications,
    waitlist::Waitlist,
};
use streams::peers::Peers;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    http::{self, Api, Gauges, Outside, Proxies, Rooms},
    listen::{Limits, listen},
    settings::{HttpLimits, Settings},
    system::System,
};

/// What a process does. One process does everything unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Answers HTTP.
    Gateway,
    /// Hands events to `JetStream`.
    Relay,
    /// Keeps the read models.
    Projector,
    /// Plans reminders, hands out what falls due, and ends requests that nobody answered.
    Scheduler,
    /// Sends mails.
    Notifier,
}

/// How long open requests and sends may take once the process is told to stop: a hand-over to a mail
/// server takes up to 30 seconds, and one that is broken off is uncertain for ever.
const DRAIN: Duration = Duration::from_secs(35);
/// What was under way when the process was told to stop is answered by all its roles for so long.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// A connection may rest so long between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// So long it keeps its buffers meanwhile.
const AWAKE: Duration = Duration::from_millis(100);
/// How soon a process learns of a session that ended elsewhere.
const SESSIONS: Duration = Duration::from_secs(1);
/// Histograms are folded this often, whether anybody scrapes them or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Runs the roles until SIGINT or SIGTERM.
pub(crate) async fn serve(settings: Settings, roles: &[Role]) -> anyhow::Result<()> {
    let metrics = metrics()?;
    say_unknown(&settings);
    let mut system = System::assemble(&settings).await?;
    system.database.check().await?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let has = |role| roles.contains(&role);

    let admin = format!("{}:{}", settings.admin_host, settings.admin_port);
    let listener = TcpListener::bind(&admin).await.with_context(|| {
        format!("cannot listen on {admin}: choose another APPTREMIND_ADMIN_PORT")
    })?;
    tasks.spawn(upkeep(metrics.clone(), stop.clone()));
    tasks.spawn(listen(listener, for_operators(metrics), at_the_admin_port(), stop.clone(), DRAIN));
    // Closes before the rest stops: what still comes in is answered by a whole process.
    let (door, answered) = (CancellationToken::new(), CancellationToken::new());
    if has(Role::Gateway) {
        let address = format!("{}:{}", settings.http_host, settings.http_port);
        let listener = TcpListener::bind(&address).await.with_context(|| {
            format!("cannot listen on {address}: choose another APPTREMIND_HTTP_PORT")
        })?;
        let bound = listener.local_addr()?;
        let (commands, peers) = (system.commands.clone(), Peers::new(system.broker.clone()));
        system.commands = commands.clone().with_peers(peers.clone());
        // Said goodbye to first when the process stops, so that no more work comes from others.
        tasks.spawn(peers.answer(decide_for_another(commands), door.clone()));
        let api = api(&system, &settings).await?;
        tasks.spawn(follow(api.clone(), stop.clone()));
        let router = http::router(api, outside(&settings));
        let limits = at_the_door(&settings.http);
        let (closing, done) = (door.clone(), answered.clone());
        tasks.spawn(async move {
            listen(listener, router, limits, closing, DRAIN).await;
            done.cancel();
        });
        tracing::info!(address = %bound, "serving");
    } else {
        answered.cancel();
    }
    if has(Role::Relay) {
        let System { database, broker, nudge, .. } = system.clone();
        tasks.spawn(streams::relay::run(database, broker, nudge, stop.clone()));
    }
    if has(Role::Projector) {
        let System { database, broker, .. } = system.clone();
        tasks.spawn(projections::run(database, broker, stop.clone()));
    }
    if has(Role::Scheduler) || has(Role::Notifier) {
        let resets = system.resets(&settings)?;
        let notifier = system.notifier(settings)?;
        let System { commands, broker, .. } = system.clone();
        if has(Role::Scheduler) {
            let (broker, notifier) = (broker.clone(), notifier.clone());
            tasks.spawn(reactors::schedule(commands, resets, broker, notifier, stop.clone()));
        }
        if has(Role::Notifier) {
            tasks.spawn(reactors::notify(broker, notifier, stop.clone()));
        }
    }
    until_told(&mut tasks).await?;
    tracing::info!("stopping");
    door.cancel();
    drop(tokio::time::timeout(LAST_ANSWERS, answered.cancelled()).await);
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}

/// What the admin port answers.
fn for_operators(metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        // Also where there is no gateway: whoever starts processes asks whether they live.
        .route("/healthz", get(|| async { "ok" }))
}

fn say_unknown(settings: &Settings) {
    for name in &settings.unknown {
        tracing::warn!(name, "there is no such setting");
    }
}

/// Waits for a signal; a role that ends by itself is a fault.
async fn until_told(tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Err(error)) => Err(error).context("a role failed"),
            Some(Ok(())) | None => Err(anyhow::anyhow!("a role ended by itself")),
        },
    }
}

async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Learns what other processes have done about keys and sessions, and forgets who asked, until stopped; then
/// writes down what is still to be written.
async fn follow(api: Api, stop: CancellationToken) {
    let mut sessions = tokio::time::interval(SESSIONS);
    let mut keys = tokio::time::interval(Identity::look());
    let mut rates = tokio::time::interval(http::FORGET);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = sessions.tick() => {
                if let Err(error) = api.identity.follow_sessions().await {
                    tracing::warn!(%error, "what sessions ended elsewhere is not known now");
                }
            }
            _ = keys.tick() => {
                if let Err(error) = api.identity.follow().await {
                    tracing::warn!(%error, "whether there are new signing keys is not known now");
                }
            }
            _ = rates.tick() => api.gauges.forget(),
        }
    }
    api.identity.drain().await;
}

/// Whoever scrapes metrics needs few connections.
const fn at_the_admin_port() -> Limits {
    Limits {
        listener: "admin",
        connections: 64,
        per_address: 0,
        header_timeout: Duration::from_secs(10),
        idle_timeout: IDLE,
        awake: AWAKE,
        header_bytes: 16 * 1024,
        headers: 100,
        linger: Duration::ZERO,
    }
}

const fn at_the_door(http: &HttpLimits) -> Limits {
    Limits {
        listener: "http",
        connections: http.connections,
        per_address: http.connections_per_address,
        header_timeout: http.header_timeout,
        idle_timeout: IDLE,
        awake: AWAKE,
        header_bytes: 32 * 1024,
        headers: 100,
        linger: Duration::from_secs(1),
    }
}

fn outside(settings: &Settings) -> Outside {
    Outside {
        proxies: Proxies::from(settings.trusted_proxies.clone()),
        http: settings.http.clone(),
        https: settings.public_url.starts_with("https://"),
    }
}

/// Books what other gateways ask for.
fn decide_for_another(
    commands: Commands,
) -> impl Fn(Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> + Clone + Send + 'static {
    move |wish| {
        let commands = commands.clone();
        Box::pin(async move { commands.book_for_another(wish).await })
    }
}

async fn api(system: &System, settings: &Settings) -> anyhow::Result<Api> {
    let database = system.database.clone();
    let availability = Availability::new(database.clone());
    let positions = Positions::new(database.clone());
    let slots = Answers::new(availability.clone(), positions.clone(), database);
    Ok(Api::from(Rooms {
        commands: system.commands.clone(),
        identity: system.identity(settings).await?,
        manage_urls: System::manage_urls(settings)?,
        seals: System::seals(settings)?,
        sms: settings.sms.clone(),
        templates: System::templates(settings)?,
        organizer: settings.smtp.address(),
        near: slots.beside(),
        slots,
        availability,
        positions,
        agenda: Agenda::new(system.log.clone()),
        notifications: Notifications::new(system.database.clone()),
        audit: Audit::new(system.database.clone()),
        waitlist: Waitlist::new(system.database.clone()),
        database: system.database.clone(),
        broker: system.broker.clone(),
        gauges: Gauges::new(&settings.rates),
        origins: settings.own_origins(),
        session_seconds: settings.rates.policy.session_lifetime.as_secs(),
        base_domain: settings.base_domain.clone(),
        limits: settings.rates.clone(),
    }))
}

fn metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
    let commands = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("_commit_commands".to_owned()), &commands)?
        .install_recorder()?)
}
