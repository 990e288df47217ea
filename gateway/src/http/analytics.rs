//! Numbers for owners and analysts.

use axum::{Json, extract::State};
use domain::{Zone, availability::local_date};
use jiff::{ToSpan, civil::Date};
use projections::notifications::DayRow;
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Problem,
    extract::{self, Member},
};

/// How many days back.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Period {
    #[serde(rename = "7d")]
    Week,
    #[default]
    #[serde(rename = "30d")]
    Month,
    #[serde(rename = "90d")]
    Quarter,
}

impl Period {
    const fn days(self) -> i64 {
        match self {
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
        }
    }
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AnalyticsQuery {
    /// `7d`, `30d` or `90d`: so many days on the clock of the business, the last of them today. `30d` when absent.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    period: Period,
    /// Wait for this position of an earlier write, two seconds at most.
    #[param(value_type = Option<String>)]
    min_position: Option<Cursor>,
}

/// Messages of one channel that were due on one day, of those that have their outcome.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessagesOfDay {
    /// On the clock of the business.
    #[schema(value_type = String, format = Date)]
    date: Date,
    /// `email` or `sms`.
    channel: String,
    /// What a provider took.
    sent: u64,
    /// Of those, what arrived, as far as providers tell.
    delivered: u64,
    /// What was given up, or could not go out before its visit began.
    failed: u64,
    /// Of what nobody knows whether it arrived.
    uncertain: u64,
}

/// How things went.
#[derive(Serialize, ToSchema)]
#[schema(as = Analytics)]
pub(crate) struct AnalyticsAnswer {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    from: Date,
    /// The last day: today.
    #[schema(value_type = String, format = Date)]
    to: Date,
    /// On whose clock days are counted.
    #[schema(value_type = String)]
    timezone: Zone,
    /// By day and channel; a day without any is left out.
    notifications: Vec<MessagesOfDay>,
    /// Reminders that were sent, of those that were to be sent; from 0 to 1, null when there were none.
    reminder_success_rate: Option<f64>,
}

impl AnalyticsAnswer {
    fn of(from: Date, to: Date, timezone: Zone, days: Vec<DayRow>) -> Self {
        let sum = |of: fn(&DayRow) -> u64| days.iter().map(of).sum::<u64>();
        let (sent, all) = (sum(|day| day.reminders_sent), sum(|day| day.reminders));
        let reminder_success_rate = (all > 0).then(|| sent as f64 / all as f64);
        let notifications = days.into_iter().map(MessagesOfDay::from).collect();
        Self { from, to, timezone, notifications, reminder_success_rate }
    }
}

impl From<DayRow> for MessagesOfDay {
    fn from(row: DayRow) -> Self {
        let DayRow { date, channel, sent, delivered, failed, uncertain, .. } = row;
        Self { date, channel, sent, delivered, failed, uncertain }
    }
}

/// How messages went of late, day by day.
#[utoipa::path(get, path = "/api/v1/analytics", tag = "operations",
    operation_id = "get_analytics",
    params(AnalyticsQuery), responses((status = 200, body = AnalyticsAnswer), (status = 503, body = Problem)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    extract::Query(query): extract::Query<AnalyticsQuery>,
) -> Result<Json<AnalyticsAnswer>, Problem> {
    let (business, _) = api.business_of(member.business_id, query.min_position).await?;
    api.wait(super::NOTIFICATIONS, query.min_position).await?;
    let zone = business.profile.value.timezone.clone();
    let to = local_date(&zone, clock::now());
    let from = to.saturating_sub((query.period.days() - 1).days());
    let days = api.notifications.daily(member.business_id, (from, to), &zone).await?;
    Ok(Json(AnalyticsAnswer::of(from, to, zone, days)))
}
