use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// More events behind than this is worth a look.
const LAG: i64 = 1_000;

/// Whether the system can be used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`; `degraded` when something is late or away but booking goes on; `unavailable`.
    status: &'static str,
    /// Whether Postgres answers.
    postgres: bool,
    /// Whether the broker answers. Without it everything is late by a second.
    nats: bool,
    /// How far each consumer is behind.
    consumers: Vec<Consumer>,
}

/// How far a consumer is behind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Consumer {
    /// Its name.
    name: String,
    /// Events behind the head of the log.
    lag: i64,
    /// Whether it stopped at an event that it could not apply.
    halted: bool,
}

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = String)))]
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// Whether the system can be used.
///
/// 503 only without Postgres: a missing broker or a late read model is `degraded`.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn readyz(State(api): State<Api>) -> (StatusCode, Json<Readiness>) {
    let nats = api.broker.is_connected();
    let postgres = api.database.answers().await;
    let found =
        if postgres { projections::status(&api.database, LAG + 1).await.ok() } else { None };
    let Some(found) = found else {
        let consumers = vec![];
        let readiness = Readiness { status: "unavailable", postgres: false, nats, consumers };
        return (StatusCode::SERVICE_UNAVAILABLE, Json(readiness));
    };
    let consumers: Vec<Consumer> = found
        .into_iter()
        .map(|c| Consumer { name: c.consumer, lag: c.lag, halted: c.halted.is_some() })
        .collect();
    let late = consumers.iter().any(|c| c.halted || c.lag > LAG);
    let status = if nats && !late { "ready" } else { "degraded" };
    (StatusCode::OK, Json(Readiness { status, postgres, nats, consumers }))
}
