use axum::{extract::State, http::StatusCode};
use commands::{CommandError, business::ChangeBusiness};
use domain::{
    BusinessId, Currency, Zone,
    business::{
        BookingPolicy, Branding, BrandingChange, BufferRule, BusinessCommand, BusinessError,
        BusinessState, PolicyChange, Profile, ProfileChange, QuietHours, SlotGrid, Versioned,
    },
    notification::Channel,
    staff_schedule::WallMinute,
};
use serde::{Deserialize, Serialize};
use streams::Cursor;
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Freshness, Tagged, Written},
    context,
    extract::{self, IfMatch, Member, present},
    shape::{maybe_object, present_object},
};

/// Profile and policies of a business.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProfileAnswer {
    name: String,
    handle: String,
    #[schema(value_type = String)]
    timezone: Zone,
    address: Option<String>,
    contact: Option<String>,
    locale: String,
    #[schema(value_type = String)]
    currency: Currency,
    /// How long before an appointment its reminders are due, in elapsed minutes.
    reminder_offsets_minutes: Vec<u32>,
    /// By what guests are reminded: `email`, `sms`.
    #[schema(value_type = Vec<String>)]
    reminder_channels: Vec<Channel>,
    /// When nobody is reminded, on the guest's own clock; null means at any hour.
    quiet_hours: Option<QuietHoursShape>,
    /// Whether whoever serves is mailed about bookings, moves and cancellations; the owners, where the staff
    /// member has no e-mail address.
    host_notices: bool,
    /// Whether the owners are mailed each Monday at 07:00, on the clock of the business, how the week went and
    /// what comes. Businesses that said nothing of it are.
    weekly_summary: bool,
    branding: BrandingAnswer,
    booking_policy: PolicyAnswer,
}

/// Hours of each day, which may go over midnight.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"start": "21:00", "end": "08:00"}))]
pub(crate) struct QuietHoursShape {
    /// The first quiet minute, as HH:MM.
    #[schema(value_type = String)]
    start: WallMinute,
    /// The first minute that is not quiet any more, as HH:MM.
    #[schema(value_type = String)]
    end: WallMinute,
}

impl From<QuietHours> for QuietHoursShape {
    fn from(QuietHours { start, end }: QuietHours) -> Self {
        Self { start, end }
    }
}

impl From<QuietHoursShape> for QuietHours {
    fn from(QuietHoursShape { start, end }: QuietHoursShape) -> Self {
        Self { start, end }
    }
}

/// How mails and pages show whose they are.
#[derive(Serialize, ToSchema)]
pub(crate) struct BrandingAnswer {
    /// Where the logo is.
    logo_url: Option<String>,
    /// The main colour, as `#rrggbb`. Words on it are black or white, whichever can be read better.
    color: Option<String>,
    /// The last words of mails to guests.
    sign_off: Option<String>,
}

impl From<&Branding> for BrandingAnswer {
    fn from(branding: &Branding) -> Self {
        let Branding { logo_url, color, sign_off } = branding.clone();
        Self { logo_url, color, sign_off }
    }
}

/// What guests may book, and when.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyAnswer {
    /// `packed` or `aligned`.
    #[schema(value_type = String)]
    slot_grid: SlotGrid,
    /// Null means the service's duration (packed) or 15 (aligned).
    slot_step_minutes: Option<u32>,
    min_notice_minutes: u32,
    window_days: u32,
    /// `add` or `max`.
    #[schema(value_type = String)]
    buffers: BufferRule,
    cancel_notice_minutes: u32,
    /// How often a guest may move a visit; null means as often as they like.
    reschedule_limit: Option<u32>,
    /// How long the business may take to answer a request; it expires when its visit begins at the latest.
    request_expires_minutes: u32,
    /// How long a guest of the waitlist may take to accept an offer; it expires when its visit begins at the latest.
    waitlist_offer_minutes: u32,
    /// So many visits may begin in one local day; null means no limit.
    max_per_day: Option<u32>,
    /// So many visits may begin in one local week, from Monday to Sunday; null means no limit.
    max_per_week: Option<u32>,
}

impl From<&BookingPolicy> for PolicyAnswer {
    fn from(policy: &BookingPolicy) -> Self {
        Self {
            slot_grid: policy.slot_grid,
            slot_step_minutes: policy.slot_step_minutes,
            min_notice_minutes: policy.min_notice_minutes,
            window_days: policy.window_days,
            buffers: policy.buffers,
            cancel_notice_minutes: policy.cancel_notice_minutes,
            reschedule_limit: policy.reschedule_limit,
            request_expires_minutes: policy.request_expires_minutes,
            waitlist_offer_minutes: policy.waitlist_offer_minutes,
            max_per_day: policy.max_per_day,
            max_per_week: policy.max_per_week,
        }
    }
}

impl From<&Profile> for ProfileAnswer {
    fn from(profile: &Profile) -> Self {
        Self {
            name: profile.name.clone(),
            handle: profile.handle.clone(),
            timezone: profile.timezone.clone(),
            address: profile.address.clone(),
            contact: profile.contact.clone(),
            locale: profile.locale.clone(),
            currency: profile.currency,
            reminder_offsets_minutes: profile.reminder_offsets_minutes.clone(),
            reminder_channels: profile.reminder_channels.clone(),
            quiet_hours: profile.quiet_hours.map(Into::into),
            host_notices: profile.host_notices,
            weekly_summary: profile.weekly_summary,
            branding: (&profile.branding).into(),
            booking_policy: (&profile.booking_policy).into(),
        }
    }
}

/// What is to change; absent fields stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"timezone": "Europe/London", "reminder_offsets_minutes": [1440, 60],
    "branding": {"logo_url": "https://salon.example/logo.png", "color": "#1d4ed8"}}))]
pub(crate) struct ProfilePatch {
    name: Option<String>,
    handle: Option<String>,
    #[schema(value_type = Option<String>)]
    timezone: Option<Zone>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    address: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    contact: Option<Option<String>>,
    locale: Option<String>,
    #[schema(value_type = Option<String>)]
    currency: Option<Currency>,
    reminder_offsets_minutes: Option<Vec<u32>>,
    /// At least one of `email` and `sms`, each once.
    #[schema(value_type = Option<Vec<String>>)]
    reminder_channels: Option<Vec<Channel>>,
    /// Reminders that would come then come in the last minute before; null removes them.
    #[serde(default, deserialize_with = "present_object")]
    #[schema(value_type = Option<QuietHoursShape>)]
    quiet_hours: Option<Option<QuietHoursShape>>,
    host_notices: Option<bool>,
    weekly_summary: Option<bool>,
    #[serde(default, deserialize_with = "maybe_object")]
    branding: Option<BrandingPatch>,
    #[serde(default, deserialize_with = "maybe_object")]
    booking_policy: Option<PolicyPatch>,
}

/// What is to change of the branding; absent fields stay, null removes one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"logo_url": "https://salon.example/logo.png", "color": "#1d4ed8"}))]
pub(crate) struct BrandingPatch {
    /// An address that begins with `https://`, of at most 500 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    logo_url: Option<Option<String>>,
    /// A colour as `#rrggbb`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    color: Option<Option<String>>,
    /// At most 500 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    sign_off: Option<Option<String>>,
}

impl From<BrandingPatch> for BrandingChange {
    fn from(patch: BrandingPatch) -> Self {
        Self { logo_url: patch.logo_url, color: patch.color, sign_off: patch.sign_off }
    }
}

/// What is to change of the policy; absent fields stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyPatch {
    #[schema(value_type = Option<String>)]
    slot_grid: Option<SlotGrid>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    slot_step_minutes: Option<Option<u32>>,
    min_notice_minutes: Option<u32>,
    window_days: Option<u32>,
    #[schema(value_type = Option<String>)]
    buffers: Option<BufferRule>,
    cancel_notice_minutes: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    reschedule_limit: Option<Option<u32>>,
    /// 5 to 43200 (30 days).
    request_expires_minutes: Option<u32>,
    /// 5 to 10080 (7 days).
    waitlist_offer_minutes: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_day: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_week: Option<Option<u32>>,
}

impl From<PolicyPatch> for PolicyChange {
    fn from(patch: PolicyPatch) -> Self {
        Self {
            slot_grid: patch.slot_grid,
            slot_step_minutes: patch.slot_step_minutes,
            min_notice_minutes: patch.min_notice_minutes,
            window_days: patch.window_days,
            buffers: patch.buffers,
            cancel_notice_minutes: patch.cancel_notice_minutes,
            reschedule_limit: patch.reschedule_limit,
            request_expires_minutes: patch.request_expires_minutes,
            waitlist_offer_minutes: patch.waitlist_offer_minutes,
            max_per_day: patch.max_per_day,
            max_per_week: patch.max_per_week,
        }
    }
}

pub(super) fn refused(error: CommandError<BusinessError>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        match refused {
            BusinessError::AlreadyRegistered => {
                Problem::new(StatusCode::CONFLICT, "already_registered", detail)
            }
            BusinessError::HandleTaken => {
                Problem::new(StatusCode::CONFLICT, "handle_taken", detail)
            }
            BusinessError::NotFound => Problem::not_found(),
            BusinessError::Invalid(errors) => Problem::invalid(errors),
            BusinessError::Stale { .. } => {
                Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
            }
            BusinessError::Full { .. } => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many", detail)
            }
        }
    })
}

impl Api {
    /// The business of a member, as the read model has it.
    pub(super) async fn business_of(
        &self,
        business_id: BusinessId,
        min_position: Option<Cursor>,
    ) -> Result<(BusinessState, Cursor), Problem> {
        self.wait(super::AVAILABILITY, min_position).await?;
        self.availability.business(business_id).await?.ok_or_else(Problem::not_found)
    }

    /// Does an edit and waits until guests can see it.
    pub(super) async fn change(
        &self,
        member: Member,
        change: ChangeBusiness,
    ) -> Result<(BusinessState, Cursor), Problem> {
        let context = context::command(member.business_id, member.actor());
        let done = self.commands.change_business(&change, &context).await.map_err(refused)?;
        self.edited(done.position).await;
        Ok((done.value, done.position))
    }
}

/// The profile of the business.
#[utoipa::path(get, path = "/api/v1/business/profile", tag = "business",
    params(Freshness), responses((status = 200, body = ProfileAnswer)))]
pub(crate) async fn get_profile(
    member: Member,
    State(api): State<Api>,
    extract::Query(fresh): extract::Query<Freshness>,
) -> Result<Tagged<ProfileAnswer>, Problem> {
    let (state, _) = api.business_of(member.business_id, fresh.min_position).await?;
    let Versioned { version, value } = &state.profile;
    Ok(Tagged(*version, value.into()))
}

/// Change the profile or a policy.
#[utoipa::path(patch, path = "/api/v1/business/profile", tag = "business",
    operation_id = "change_profile",
    params(("If-Match" = String, Header, description = "the ETag of the profile, or *")),
    request_body = ProfilePatch,
    responses((status = 200, body = ProfileAnswer), (status = 409, body = Problem)))]
pub(crate) async fn patch_profile(
    member: Member,
    State(api): State<Api>,
    IfMatch(expected): IfMatch,
    extract::Json(patch): extract::Json<ProfilePatch>,
) -> Result<Written<ProfileAnswer>, Problem> {
    let change = ProfileChange {
        name: patch.name,
        handle: patch.handle.map(|handle| handle.to_ascii_lowercase()),
        timezone: patch.timezone,
        address: patch.address,
        contact: patch.contact,
        locale: patch.locale,
        currency: patch.currency,
        reminder_offsets_minutes: patch.reminder_offsets_minutes,
        reminder_channels: patch.reminder_channels,
        quiet_hours: patch.quiet_hours.map(|quiet| quiet.map(Into::into)),
        host_notices: patch.host_notices,
        weekly_summary: patch.weekly_summary,
        branding: patch.branding.map(BrandingChange::from),
        booking_policy: patch.booking_policy.map(PolicyChange::from),
    };
    let command = BusinessCommand::ChangeProfile { change, expected };
    let (state, position) = api.change(member, command.into()).await?;
    let Versioned { version, value } = &state.profile;
    Ok(Written::new(StatusCode::OK, position, value.into()).etag(*version))
}
