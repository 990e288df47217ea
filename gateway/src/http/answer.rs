//! Shapes that many answers share.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{Currency, Money, ServiceId, StaffId, appointment::Part};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use streams::Cursor;
use utoipa::{IntoParams, ToSchema};

use super::Problem;

/// An amount in the currency's smallest unit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": 4500, "currency": "USD"}))]
pub(crate) struct Price {
    /// Minor units (cents for USD).
    pub(crate) amount: i64,
    /// ISO 4217.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$")]
    pub(crate) currency: Currency,
}

impl From<Money> for Price {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}

impl From<Price> for Money {
    fn from(price: Price) -> Self {
        Self { amount: price.amount, currency: price.currency }
    }
}

/// One service of a visit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartAnswer {
    #[schema(value_type = String)]
    service_id: ServiceId,
    #[schema(value_type = String)]
    staff_id: StaffId,
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
    price: Price,
}

impl From<&Part> for PartAnswer {
    fn from(part: &Part) -> Self {
        Self {
            service_id: part.service_id,
            staff_id: part.staff_id,
            start: part.slot.start(),
            end: part.slot.end(),
            price: part.price.into(),
        }
    }
}

/// How fresh an answer must be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Freshness {
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    pub(crate) min_position: Option<Cursor>,
}

/// The longest page, and what is sent when nobody says.
const LONGEST_PAGE: u32 = 200;
const USUAL_PAGE: u32 = 50;

/// So many items go into a page, by the parameter `limit`.
///
/// # Errors
/// When it is out of range.
pub(crate) fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(USUAL_PAGE);
    let rule = || Problem::invalid_field("limit", format!("must be 1 to {LONGEST_PAGE}"));
    (1..=LONGEST_PAGE).contains(&limit).then_some(limit).ok_or_else(rule)
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// In the order of the list.
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    pub(crate) next: Option<String>,
}

impl<T> Items<T> {
    pub(crate) const fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// The answer to a write.
pub(crate) struct Written<T> {
    pub(crate) status: StatusCode,
    pub(crate) position: Cursor,
    pub(crate) version: Option<u64>,
    pub(crate) location: Option<String>,
    pub(crate) replayed: bool,
    pub(crate) body: Option<T>,
}

const POSITION: HeaderName = HeaderName::from_static("x-position");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

impl<T> Written<T> {
    pub(crate) const fn new(status: StatusCode, position: Cursor, body: T) -> Self {
        let body = Some(body);
        Self { status, position, version: None, location: None, replayed: false, body }
    }

    pub(crate) const fn empty(position: Cursor) -> Self {
        let status = StatusCode::NO_CONTENT;
        Self { status, position, version: None, location: None, replayed: false, body: None }
    }

    pub(crate) fn etag(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    pub(crate) fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

impl<T: Serialize> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, Json(body)).into_response(),
            None => self.status.into_response(),
        };
        put(&mut response, POSITION, &self.position.to_string());
        if let Some(version) = self.version {
            put(&mut response, header::ETAG, &format!("\"{version}\""));
        }
        if let Some(location) = self.location {
            put(&mut response, header::LOCATION, &location);
        }
        if self.replayed {
            put(&mut response, REPLAYED, "true");
        }
        response
    }
}

/// The answer to a read of something that can be edited.
pub(crate) struct Tagged<T>(pub(crate) u64, pub(crate) T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.1).into_response();
        put(&mut response, header::ETAG, &format!("\"{}\"", self.0));
        response
    }
}
