use axum::{Json, extract::State};
use jiff::Timestamp;
use projections::audit::{AuditFilter, AuditRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use streams::Cursor;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api, Problem,
    answer::{Items, page_size},
    extract::{self, Member},
    shape::Instant,
};

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// From this instant on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Instant>,
    /// Before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Instant>,
    /// Only what begins so, such as `auth.session.` or `business.updated.`.
    #[param(max_length = 100, example = "auth.session.")]
    action: Option<String>,
    /// Only what this user or key did.
    #[param(max_length = 100)]
    actor: Option<String>,
    /// Entries at most, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

/// Something that somebody did.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditItem {
    /// Names the event.
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// Its place in the log.
    position: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Such as `auth.session.opened.v1`.
    action: String,
    /// The kind of thing that it was done to.
    subject_type: String,
    /// Which one.
    subject_id: String,
    /// A user, a key, `guest`, or `system:` and the name of a part of ours.
    actor: String,
    /// How the user signs in, while they belong to the business.
    actor_email: Option<String>,
    /// The request that did it.
    #[schema(value_type = String, format = "uuid")]
    request_id: Uuid,
    /// The event.
    #[schema(value_type = Object)]
    data: Value,
}

impl From<AuditRow> for AuditItem {
    fn from(row: AuditRow) -> Self {
        let (subject_type, subject_id) = row.subject;
        Self {
            id: row.event_id,
            position: row.position.to_string(),
            at: row.at,
            action: row.action,
            subject_type,
            subject_id,
            actor: row.actor,
            actor_email: row.actor_email,
            request_id: row.correlation_id,
            data: row.data,
        }
    }
}

/// Who signed in or was refused, who became what, which keys were made, and what was edited; the newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "operations", operation_id = "list_audit",
    params(AuditQuery), responses((status = 200, body = Items<AuditItem>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<AuditQuery>,
) -> Result<Json<Items<AuditItem>>, Problem> {
    let limit = page_size(query.limit)?;
    let after = query.cursor.map(|text| text.parse()).transpose();
    let after = after
        .map_err(|()| Problem::invalid_field("cursor", "must be `next` of the page before"))?;
    for (name, text) in [("action", &query.action), ("actor", &query.actor)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > 100 || text.contains('\0')) {
            return Err(Problem::invalid_field(name, "must be at most 100 characters"));
        }
    }
    api.wait(super::AUDIT, query.min_position).await?;
    let filter = AuditFilter {
        from: query.from.map(|from| from.0),
        to: query.to.map(|to| to.0),
        action: query.action,
        actor: query.actor,
        after,
        limit,
    };
    let (rows, next) = api.audit.list(member.business_id, &filter).await?;
    let items = rows.into_iter().map(Into::into).collect();
    Ok(Json(Items { items, next: next.map(|next| next.to_string()) }))
}
