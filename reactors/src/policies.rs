//! What businesses want their guests and themselves to be told, as it was when something happened.

use std::collections::{HashMap, VecDeque};

use domain::{
    Aggregate, BusinessId, ServiceId, Zone,
    business::{Business, BusinessEvent, BusinessState, ReminderPolicy},
};
use serde_json::Value;
use sqlx::PgConnection;
use streams::{Cursor, consumer::Failure};
use uuid::Uuid;

/// Profiles and services of some businesses. To be asked in the order of the feed.
pub(crate) struct Policies(HashMap<BusinessId, History>);

#[derive(Default)]
struct History {
    state: Business,
    /// What is not yet in `state`.
    ahead: VecDeque<(Cursor, BusinessEvent)>,
}

impl Policies {
    pub(crate) async fn read(
        connection: &mut PgConnection,
        businesses: &[BusinessId],
    ) -> Result<Self, Failure> {
        let rows: Vec<(Uuid, i64, i64, String, String, Value)> = sqlx::query_as(
            "SELECT business_id, transaction_id::text::bigint, position, event_type, event_version,
                    payload
               FROM events
              WHERE aggregate_type = $1 AND aggregate_id = ANY($2)
                AND (event_type IN ('business.registered.v1', 'business.updated.v1')
                     OR event_type LIKE 'business.service.%')
              ORDER BY sequence",
        )
        .bind(Business::TYPE)
        .bind(businesses.iter().map(ToString::to_string).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        let mut all: HashMap<BusinessId, History> = HashMap::new();
        for (business, transaction_id, position, kind, version, payload) in rows {
            let fact = serde_json::from_value(domain::upcast(&kind, &version, payload))
                .map_err(|error| Failure::Poison(error.into()))?;
            let history = all.entry(BusinessId::new(business)).or_default();
            history.ahead.push_back((Cursor { transaction_id, position }, fact));
        }
        Ok(Self(all))
    }

    /// The business as it was right before this place of the feed.
    pub(crate) fn at(&mut self, business_id: BusinessId, place: Cursor) -> Option<Told<'_>> {
        self.while_at(business_id, |since| since < place)
    }

    /// The business as it was right behind this place of the feed.
    pub(crate) fn through(&mut self, business_id: BusinessId, place: Cursor) -> Option<Told<'_>> {
        self.while_at(business_id, |since| since <= place)
    }

    fn while_at(
        &mut self,
        business_id: BusinessId,
        is_known: impl Fn(Cursor) -> bool,
    ) -> Option<Told<'_>> {
        let History { state, ahead } = self.0.get_mut(&business_id)?;
        while let Some((_, event)) = ahead.pop_front_if(|(since, _)| is_known(*since)) {
            state.apply(event);
        }
        state.registered().map(Told)
    }
}

/// What one business wants at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a>(&'a BusinessState);

impl<'a> Told<'a> {
    pub(crate) fn reminders(self, service_id: ServiceId) -> ReminderPolicy {
        self.0.reminders(service_id)
    }

    /// All that decides when and by what guests are reminded: of one service, or of those that say nothing
    /// themselves.
    pub(crate) fn summary(self, service_id: Option<ServiceId>) -> (ReminderPolicy, Zone) {
        let nobody = ServiceId::new(Uuid::nil());
        (self.reminders(service_id.unwrap_or(nobody)), self.zone().clone())
    }

    pub(crate) fn zone(self) -> &'a Zone {
        &self.0.profile.value.timezone
    }

    /// Whether whoever serves is told, too.
    pub(crate) fn hosts(self) -> bool {
        self.0.profile.value.host_notices
    }
}
