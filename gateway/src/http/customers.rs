//! Customers: who they are, and who stands for whom.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    customer::{ChangeCustomer, CustomerRefused},
};
use domain::{CustomerId, customer::CustomerError, notification::Channel};
use jiff::Timestamp;
use projections::customers::{CustomerFilter, CustomerRow, Customers, Visits};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    answer::{Freshness, Items, Tagged, Written, page_size},
    context,
    extract::{self, Id, IfMatch, Member, present},
};

const LONGEST_SEARCH: usize = 100;

/// Which customers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CustomerQuery {
    /// What a word of the name, the e-mail address or the phone number begins with: at most 100
    /// characters. Capital and small letters are the same, and so are the ways to write a number.
    search: Option<String>,
    /// 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// An answer here is never older than any write, so nothing is waited for.
    #[param(value_type = Option<String>)]
    #[expect(
        dead_code,
        reason = "taken as by every read, so that clients need not tell them apart"
    )]
    min_position: Option<Cursor>,
}

/// A customer in a list.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "id": "cust_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "name": "Ada Guest", "email": "ada@example.com",
    "phone": "+1 555 0100", "created_at": "2026-03-01T09:00:00Z",
}))]
pub(crate) struct ListedCustomer {
    #[schema(value_type = String)]
    id: CustomerId,
    name: String,
    email: Option<String>,
    phone: Option<String>,
    /// Since when the business knows them.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<CustomerRow> for ListedCustomer {
    fn from(row: CustomerRow) -> Self {
        let CustomerRow { customer_id, name, email, phone, created_at, .. } = row;
        Self { id: customer_id, name, email, phone, created_at }
    }
}

/// A customer with what became of their visits.
#[derive(Serialize, ToSchema)]
#[schema(as = Customer, example = json!({
    "id": "cust_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f", "name": "Ada Guest", "email": "ada@example.com",
    "phone": "+1 555 0100", "created_at": "2026-03-01T09:00:00Z", "notes": "prefers mornings", "reminder_channels": null,
    "visits": {"booked": 1, "completed": 4, "no_show": 1}, "first_visit": "2026-03-02T14:00:00Z",
    "last_visit": "2026-09-07T13:00:00Z", "next_visit": "2026-10-05T13:00:00Z",
}))]
pub(crate) struct KnownCustomer {
    #[serde(flatten)]
    customer: ListedCustomer,
    /// In the business's own words.
    notes: Option<String>,
    /// By what they want to be reminded, of what the business uses; by none when it is empty, by whatever it uses
    /// when it is null.
    #[schema(value_type = Option<Vec<String>>)]
    reminder_channels: Option<Vec<Channel>>,
    /// How many there are in each status; one without any is left out.
    visits: BTreeMap<String, u64>,
    /// When the first one began, of those that were not called off or missed.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_visit: Option<Timestamp>,
    /// When the last such one began.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_visit: Option<Timestamp>,
    /// When the next one is to begin.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_visit: Option<Timestamp>,
}

/// What is to change; absent fields stay, null removes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"phone": "+1 555 0101", "notes": "prefers mornings"}))]
pub(crate) struct CustomerPatch {
    /// At most 120 characters.
    name: Option<String>,
    /// By what they are found again when they book.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
    /// By what they are found again when they book without an e-mail address.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    phone: Option<Option<String>>,
    /// At most 10000 characters, for the business alone.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    notes: Option<Option<String>>,
    /// By what they want to be reminded (`email`, `sms`), of what the business uses; by none when it is empty, by
    /// whatever it uses when it is null.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    reminder_channels: Option<Option<Vec<Channel>>>,
}

/// Who stands for the customer from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"into": "cust_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f"}))]
pub(crate) struct MergeRequest {
    #[schema(value_type = String)]
    into: CustomerId,
}

impl Api {
    async fn customer(
        &self,
        member: Member,
        id: CustomerId,
    ) -> Result<(u64, KnownCustomer), Problem> {
        let customers = Customers::new(self.database.clone());
        let found = customers.get(member.business_id, id).await?;
        let mut row = found.ok_or_else(Problem::not_found)?;
        let (version, notes) = (row.version, row.notes.take());
        let reminder_channels = row.reminder_channels.take();
        let now = clock::now();
        let visits = customers.visits(member.business_id, row.customer_id, now).await?;
        let Visits { by_status, first, last, next } = visits;
        let answer = KnownCustomer {
            customer: row.into(),
            notes,
            reminder_channels,
            visits: by_status,
            first_visit: first,
            last_visit: last,
            next_visit: next,
        };
        Ok((version, answer))
    }

    async fn customer_changed(
        &self,
        member: Member,
        id: CustomerId,
        position: Cursor,
    ) -> Result<Written<KnownCustomer>, Problem> {
        let (version, answer) = self.customer(member, id).await?;
        Ok(Written::new(StatusCode::OK, position, answer).etag(version))
    }
}

pub(super) fn refused(error: CommandError<CustomerRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        let conflict = |code| Problem::new(StatusCode::CONFLICT, code, detail.clone());
        match refused {
            CustomerRefused::NotFound => Problem::not_found(),
            CustomerRefused::Invalid(errors) => Problem::invalid(errors),
            CustomerRefused::EmailTaken { customer_id } => {
                conflict("email_taken").with("customer_id", customer_id)
            }
            CustomerRefused::Customer(CustomerError::Stale { .. }) => {
                Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
            }
            CustomerRefused::Customer(CustomerError::Merged { into }) => {
                conflict("customer_merged").with("into", into)
            }
        }
    })
}

/// Customers by name. Those who were merged are not among them.
#[utoipa::path(get, path = "/api/v1/customers", tag = "customers",
    operation_id = "list_customers",
    params(CustomerQuery),
    responses((status = 200, body = Items<ListedCustomer>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<CustomerQuery>,
) -> Result<Json<Items<ListedCustomer>>, Problem> {
    let limit = page_size(query.limit)?;
    if let Some(search) = &query.search {
        let fits = !search.trim().is_empty() && search.chars().count() <= LONGEST_SEARCH;
        if !fits || search.chars().any(char::is_control) {
            let message = format!("must be 1 to {LONGEST_SEARCH} characters on one line");
            return Err(Problem::invalid_field("search", message));
        }
    }
    let odd = || Problem::invalid_field("cursor", "must be `next` of the page before");
    let after = query.cursor.map(|text| text.parse().map_err(|_odd| odd())).transpose()?;
    let filter = CustomerFilter { search: query.search, after, limit };
    let customers = Customers::new(api.database.clone());
    let page = customers.list(member.business_id, &filter).await?.ok_or_else(odd)?;
    let items = page.items.into_iter().map(Into::into).collect();
    Ok(Json(Items { items, next: page.next.map(|next| next.to_string()) }))
}

/// A customer with what became of their visits; whoever stands for them, when they were merged.
///
/// Their visits themselves: `GET /api/v1/appointments?customer_id=`.
#[utoipa::path(get, path = "/api/v1/customers/{id}", tag = "customers",
    operation_id = "get_customer",
    params(("id" = String, Path), Freshness),
    responses((status = 200, body = KnownCustomer), (status = 503, body = Problem)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<CustomerId>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<KnownCustomer>, Problem> {
    api.wait(super::AGENDA, fresh.min_position).await?;
    let (version, answer) = api.customer(member, id).await?;
    Ok(Tagged(version, answer))
}

/// Change what is known of a customer. Visits keep the contact that was given with them.
#[utoipa::path(patch, path = "/api/v1/customers/{id}", tag = "customers",
    operation_id = "change_customer",
    params(("id" = String, Path), ("If-Match" = String, Header, description = "its ETag, or *")),
    request_body = CustomerPatch,
    responses((status = 200, body = KnownCustomer),
              (status = 409, body = Problem, description = "`email_taken`, with the `customer_id` of the \
                customer who has it; `customer_merged`, with the one `into` whom"),
              (status = 503, body = Problem)))]
pub(crate) async fn patch(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<CustomerId>,
    IfMatch(expected): IfMatch,
    extract::Json(patch): extract::Json<CustomerPatch>,
) -> Result<Written<KnownCustomer>, Problem> {
    let CustomerPatch { name, email, phone, notes, reminder_channels } = patch;
    let change = ChangeCustomer { name, email, phone, notes, reminder_channels, expected };
    let context = context::command(member.business_id, member.actor());
    let done = api.commands.change_customer(id, &change, &context).await.map_err(refused)?;
    api.customer_changed(member, id, done.position).await
}

/// Let another customer stand for this one, when both are the same person: for good.
///
/// Visits move to the other one, who is also found by this one's addresses from now on and takes over
/// what is not known of them. Merging again is already so.
#[utoipa::path(post, path = "/api/v1/customers/{id}/merge", tag = "customers",
    operation_id = "merge_customer",
    params(("id" = String, Path)), request_body = MergeRequest,
    responses((status = 200, body = KnownCustomer, description = "the customer `into` whom"),
              (status = 409, body = Problem, description = "`customer_merged`: one of the two was merged \
                into another customer before, who is named as `into`"),
              (status = 503, body = Problem)))]
pub(crate) async fn merge(
    member: Member,
    State(api): State<Api>,
    Id(id): Id<CustomerId>,
    extract::Json(request): extract::Json<MergeRequest>,
) -> Result<Written<KnownCustomer>, Problem> {
    let context = context::command(member.business_id, member.actor());
    let merged = api.commands.merge_customer(id, request.into, &context).await;
    let done = merged.map_err(refused)?;
    api.customer_changed(member, request.into, done.position).await
}
