//! The HTTP API.

mod analytics;
mod answer;
mod api_keys;
mod appointments;
mod audit;
mod book;
mod browser;
mod business;
mod calendars;
mod callbacks;
mod closures;
mod context;
mod customers;
mod document;
mod edge;
mod evidence;
mod explain;
mod extract;
mod feeds;
mod guard;
mod health;
mod identity;
mod intake;
mod limit;
mod manage;
mod members;
mod negotiate;
mod notifications;
mod pages;
mod permission;
mod preferences;
mod problem;
mod public;
mod rates;
mod request;
mod reschedule;
mod resources;
mod series;
mod services;
mod sessions;
mod shape;
mod slots;
mod slots_body;
mod staff;
mod templates;
mod time_off;
mod waitlist;
mod working_hours;

use std::{ops::Deref, sync::Arc};

use axum::{Router, http::StatusCode, middleware};
use commands::{
    Commands,
    identity::{Identity, Seals},
};
use projections::{
    Positions,
    agenda::Agenda,
    audit::Audit,
    availability::{Answers, Availability, SlotList},
    notifications::Notifications,
    waitlist::Waitlist,
};
use reactors::{Sms, Templates};
use streams::{Cursor, Database, broker::Broker};
use tower_http::compression::CompressionLayer;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    manage::ManageUrls,
    settings::{HttpLimits, RateLimits},
};

pub(crate) use context::Proxies;
use edge::Edge;
pub(crate) use pages::{INVITATION as INVITATION_PAGE, RESET as RESET_PAGE};
pub(crate) use problem::Problem;
pub(crate) use rates::{FORGET, Gauges};
pub(crate) use slots_body::SlotsBody;

/// Everything that handlers use. Each request has its own handle, so it is one pointer.
#[derive(Clone)]
pub(crate) struct Api(Arc<Rooms>);

/// What the handle points to.
pub(crate) struct Rooms {
    pub(crate) commands: Commands,
    pub(crate) identity: Identity,
    pub(crate) manage_urls: ManageUrls,
    pub(crate) seals: Seals,
    /// Whoever sends text messages tells here what became of them.
    pub(crate) sms: Arc<Sms>,
    /// Tries the words of a business on a sample, and mails it.
    pub(crate) templates: Templates,
    /// Who invites guests, in their calendars: the address that mails come from.
    pub(crate) organizer: String,
    pub(crate) availability: Availability,
    pub(crate) slots: Answers<SlotsBody>,
    /// For finding the slots nearest to one that is taken.
    pub(crate) near: Answers<SlotList>,
    pub(crate) positions: Positions,
    pub(crate) agenda: Agenda,
    pub(crate) notifications: Notifications,
    pub(crate) audit: Audit,
    pub(crate) waitlist: Waitlist,
    pub(crate) database: Database,
    pub(crate) broker: Broker,
    /// How often who may ask.
    pub(crate) gauges: Gauges,
    /// The origins whose pages may act for whoever is signed in, ours first.
    pub(crate) origins: Vec<String>,
    /// Of how many seconds a session is at most.
    pub(crate) session_seconds: i64,
    /// Businesses are at `{handle}.{base_domain}`, too, when there is one.
    pub(crate) base_domain: Option<String>,
    pub(crate) limits: RateLimits,
}

/// What the router needs besides.
pub(crate) struct Outside {
    pub(crate) proxies: Proxies,
    pub(crate) http: HttpLimits,
    /// Whether we are reached by https.
    pub(crate) https: bool,
}

impl Deref for Api {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0
    }
}

impl From<Rooms> for Api {
    fn from(rooms: Rooms) -> Self {
        Self(Arc::new(rooms))
    }
}

impl Api {
    /// Waits for the availability model after an owner's edit, so that the next answer shows it. The
    /// edit stands even when the model is late.
    async fn edited(&self, position: Cursor) {
        let waited = self.positions.wait(AVAILABILITY, position).await;
        if let Err(error) = waited {
            tracing::warn!(%error, "answered before the availability model had caught up");
        }
    }

    /// Waits for a read model when the caller asked for it.
    async fn wait(&self, consumer: &str, position: Option<Cursor>) -> Result<(), Problem> {
        match position {
            Some(position) => Ok(self.positions.wait(consumer, position).await?),
            None => Ok(()),
        }
    }
}

const AVAILABILITY: &str = projections::CONSUMERS[0];
const AGENDA: &str = projections::CONSUMERS[1];
const NOTIFICATIONS: &str = projections::CONSUMERS[2];
const AUDIT: &str = projections::CONSUMERS[3];

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(document::empty())
        .routes(routes!(identity::register))
        .routes(routes!(identity::login))
        .routes(routes!(identity::refresh))
        .routes(routes!(identity::logout))
        .routes(routes!(identity::me))
        .routes(routes!(identity::jwks))
        .routes(routes!(evidence::keys))
        .routes(routes!(sessions::list, sessions::end_others))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::ask))
        .routes(routes!(sessions::confirm))
        .routes(routes!(sessions::change_password))
        .routes(routes!(sessions::businesses))
        .routes(routes!(sessions::switch))
        .routes(routes!(members::list))
        .routes(routes!(members::change, members::remove))
        .routes(routes!(members::invitations, members::invite))
        .routes(routes!(members::withdraw))
        .routes(routes!(members::accept))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::get))
        .routes(routes!(business::get_profile, business::patch_profile))
        .routes(routes!(services::list, services::create))
        .routes(routes!(services::get, services::patch, services::archive))
        .routes(routes!(staff::list, staff::create))
        .routes(routes!(staff::get, staff::patch, staff::remove))
        .routes(routes!(working_hours::get, working_hours::put))
        .routes(routes!(time_off::list, time_off::create))
        .routes(routes!(time_off::remove))
        .routes(routes!(closures::list, closures::create))
        .routes(routes!(closures::remove))
        .routes(routes!(resources::list, resources::create))
        .routes(routes!(resources::get, resources::patch, resources::remove))
        .routes(routes!(templates::list))
        .routes(routes!(templates::get, templates::put, templates::remove))
        .routes(routes!(templates::preview))
        .routes(routes!(templates::test_send))
        .routes(routes!(public::business))
        .routes(routes!(public::business_of_host))
        .routes(routes!(slots::slots))
        .routes(routes!(book::book))
        .merge(by_link())
        .routes(routes!(appointments::list, book::create))
        .routes(routes!(appointments::get, appointments::delete))
        .routes(routes!(appointments::history))
        .routes(routes!(evidence::export))
        .routes(routes!(analytics::get))
        .routes(routes!(appointments::cancel))
        .routes(routes!(request::confirm))
        .routes(routes!(request::decline))
        .routes(routes!(reschedule::reschedule))
        .routes(routes!(reschedule::reinstate))
        .routes(routes!(appointments::complete))
        .routes(routes!(appointments::no_show))
        .routes(routes!(customers::list))
        .routes(routes!(customers::get, customers::patch))
        .routes(routes!(customers::merge))
        .routes(routes!(waitlist::list))
        .routes(routes!(waitlist::remove))
        .routes(routes!(calendars::get))
        .routes(routes!(explain::explain_as_of))
        .routes(routes!(explain::explain))
        .routes(routes!(callbacks::twilio))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// What the holder of a link sees and does, and where links are told: for nobody else's eyes, caches
/// included.
fn by_link() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(manage::get))
        .routes(routes!(manage::cancel))
        .routes(routes!(manage::accept))
        .routes(routes!(manage::reschedule))
        .routes(routes!(manage::calendar))
        .routes(routes!(preferences::get, preferences::put))
        .routes(routes!(preferences::ask, preferences::unsubscribe))
        .routes(routes!(waitlist::join))
        .routes(routes!(waitlist::see))
        .routes(routes!(waitlist::leave))
        .routes(routes!(feeds::address))
        .routes(routes!(feeds::feed))
        .layer(middleware::map_response(manage::keep_secret))
}

/// The API document (`OpenAPI` 3.1).
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    document::complete(routes().into_openapi())
}

/// The whole API, with its document and the page that shows it.
pub(crate) fn router(api: Api, outside: Outside) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = document::complete(document);
    let edge = Arc::new(Edge::new(api.clone(), outside));
    router
        .with_state(api)
        .merge(pages::router())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            let detail = "this path does not know that method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer((CompressionLayer::new(), middleware::from_fn_with_state(edge, edge::layer)))
}
