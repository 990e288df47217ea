//! The words that a business has of its own for messages to its guests.

use std::str::FromStr;

use axum::{Json, extract::State, http::StatusCode};
use commands::{
    CommandError,
    message_template::{TemplateOf, TemplateRefused},
};
use domain::{
    FieldError, Fields, Locale,
    business::BusinessState,
    message_template::{MessageTemplateError, Part, TemplateParts, TestRecipient},
    notification::{Kind, Recipient},
};
use projections::templates::{TemplateRow, Templates};
use reactors::{PartError, Rendered, TestTaken, TestUntaken};
use serde::{Deserialize, Serialize};
use streams::{Cursor, clock};
use utoipa::ToSchema;

use super::{
    Api, Problem,
    answer::{Freshness, Items, Tagged, Written},
    context,
    extract::{self, Ids, IfMatch, Member},
};

/// What guests are told, by its name in the path.
pub(crate) struct GuestKind(Kind);

impl FromStr for GuestKind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let kind = Kind::named(name).filter(|kind| kind.recipient() == Recipient::Guest);
        kind.map(Self).ok_or(())
    }
}

/// The words of a business for one kind of message in one language.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedTemplate)]
pub(crate) struct ListedTemplate {
    kind: &'static str,
    #[schema(value_type = String)]
    locale: Locale,
    /// Null: in our own words.
    subject: Option<String>,
    /// Null: in our own words.
    text: Option<String>,
    /// Null: in our own words.
    html: Option<String>,
    /// Null: in our own words.
    sms: Option<String>,
    /// As its `ETag`.
    version: u64,
}

impl From<TemplateRow> for ListedTemplate {
    fn from(TemplateRow { kind, locale, parts, version }: TemplateRow) -> Self {
        let TemplateParts { subject, text, html, sms } = parts;
        Self { kind: kind.as_str(), locale, subject, text, html, sms, version }
    }
}

/// What is in force for one kind of message in one language.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageTemplate)]
pub(crate) struct TemplateAnswer {
    kind: &'static str,
    #[schema(value_type = String)]
    locale: Locale,
    /// Of which language the business's own words are that are used: this one, or the same without its
    /// country; null when it has none.
    #[schema(value_type = Option<String>)]
    own_locale: Option<Locale>,
    subject: PartAnswer,
    text: PartAnswer,
    html: PartAnswer,
    sms: PartAnswer,
    /// As its `ETag`; 0 when the business never had words of its own for exactly this.
    version: u64,
}

/// One part of a message, as a template.
#[derive(Serialize, ToSchema)]
#[schema(as = TemplatePart)]
pub(crate) struct PartAnswer {
    source: String,
    /// Whether these are the business's own words; ours otherwise.
    own: bool,
}

impl TemplateAnswer {
    fn of(found: Found) -> Self {
        let Found { of: TemplateOf { kind, locale }, own, version } = found;
        let (own_locale, parts) = own.unzip();
        let parts = parts.unwrap_or_default();
        let part = |part| {
            let own = parts.get(part);
            let ours = || reactors::Templates::built_in(kind, part);
            PartAnswer { source: own.unwrap_or_else(ours).to_owned(), own: own.is_some() }
        };
        Self {
            kind: kind.as_str(),
            locale,
            own_locale,
            subject: part(Part::Subject),
            text: part(Part::Text),
            html: part(Part::Html),
            sms: part(Part::Sms),
            version,
        }
    }
}

/// Words for the parts of a message; a part that is absent or null is left out. `docs/templates.md` says what can
/// be named in them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"subject": "Ihr Termin bei {{ business }}", "text": "Bis bald! {{ manage_url }}"}))]
pub(crate) struct TemplateWords {
    /// At most 200 characters on one line.
    subject: Option<String>,
    /// At most 20000 characters.
    text: Option<String>,
    /// At most 60000 characters. What is put in is escaped.
    html: Option<String>,
    /// At most 1000 characters.
    sms: Option<String>,
}

impl TemplateWords {
    fn checked(self) -> Result<TemplateParts, Problem> {
        let Self { subject, text, html, sms } = self;
        let parts = TemplateParts { subject, text, html, sms };
        let mut fields = Fields::default();
        parts.validate(&mut fields);
        fields.done().map_err(Problem::invalid)?;
        Ok(parts)
    }
}

/// A message as it would be sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct TemplatePreview {
    subject: String,
    text: String,
    html: String,
    sms: String,
}

impl From<Rendered> for TemplatePreview {
    fn from(Rendered { subject, text, html, sms }: Rendered) -> Self {
        Self { subject, text, html, sms }
    }
}

/// To whom a test goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "dana@salon.example"}))]
pub(crate) struct TestRequest {
    /// The address of somebody who signs in to the business, or of its staff; when absent, that of whoever asks.
    to: Option<String>,
}

/// A test that the mail server took.
#[derive(Serialize, ToSchema)]
pub(crate) struct TestSent {
    to: String,
    subject: String,
    /// In the words of the mail server.
    answer: String,
}

/// What a business has.
struct Found {
    of: TemplateOf,
    /// The words that are used, and of which language they are.
    own: Option<(Locale, TemplateParts)>,
    /// Of exactly this language.
    version: u64,
}

impl Api {
    async fn template(&self, member: Member, of: TemplateOf) -> Result<Found, Problem> {
        let locales = of.locale.clone().with_fallbacks();
        let templates = Templates::new(self.database.clone());
        let rows = templates.of_kind(member.business_id, of.kind, &locales).await?;
        let exact = rows.iter().find(|row| row.locale.key() == of.locale.key());
        let version = exact.map_or(0, |row| row.version);
        let own = rows.into_iter().find(|row| !row.parts.is_empty());
        Ok(Found { of, own: own.map(|row| (row.locale, row.parts)), version })
    }

    async fn template_written(
        &self,
        member: Member,
        of: TemplateOf,
        position: Cursor,
    ) -> Result<Written<TemplateAnswer>, Problem> {
        let found = self.template(member, of).await?;
        let version = found.version;
        Ok(Written::new(StatusCode::OK, position, TemplateAnswer::of(found)).etag(version))
    }

    /// To whom a test goes: nobody outside of the business.
    async fn test_recipient(
        &self,
        member: Member,
        to: Option<&str>,
        business: &BusinessState,
    ) -> Result<(TestRecipient, String), Problem> {
        let rule = "must be the address of somebody who signs in to the business, or of its staff";
        let nobody = || Problem::invalid_field("to", rule);
        if to.is_some_and(|to| to.len() > 254 || to.chars().any(char::is_control)) {
            return Err(nobody());
        }
        let staff: Vec<_> = business.staff.keys().copied().collect();
        let templates = Templates::new(self.database.clone());
        let found = templates.recipient(member.business_id, member.user_id(), to, &staff).await?;
        found.ok_or_else(nobody)
    }
}

fn of(Ids(GuestKind(kind), locale): Ids<GuestKind, Locale>) -> TemplateOf {
    TemplateOf { kind, locale }
}

fn refused(error: CommandError<TemplateRefused>) -> Problem {
    Problem::of(error, |refused| {
        let detail = refused.to_string();
        match refused {
            TemplateRefused::Template(MessageTemplateError::Invalid(errors)) => {
                Problem::invalid(errors)
            }
            TemplateRefused::Template(MessageTemplateError::Stale { .. }) => {
                Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
            }
            TemplateRefused::TooMany { .. } => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many", detail)
            }
        }
    })
}

fn unrendered(errors: Vec<PartError>) -> Problem {
    let field = |PartError { part, reason }| FieldError {
        field: Part::as_str(part).to_owned(),
        message: reason,
    };
    Problem::invalid(errors.into_iter().map(field).collect())
}

/// The words that the business has of its own, by kind and language.
#[utoipa::path(get, path = "/api/v1/business/templates", tag = "business",
    operation_id = "list_templates",
    params(Freshness),
    responses((status = 200, body = Items<ListedTemplate>)))]
pub(crate) async fn list(
    member: Member,
    State(api): State<Api>,
    // An answer here is never older than any write, so nothing is waited for.
    extract::Query(_fresh): extract::Query<Freshness>,
) -> Result<Json<Items<ListedTemplate>>, Problem> {
    let rows = Templates::new(api.database.clone()).list(member.business_id).await?;
    Ok(Json(Items::all(rows.into_iter().map(Into::into).collect())))
}

/// What is in force for a kind of message in a language: our own words, too.
#[utoipa::path(get, path = "/api/v1/business/templates/{kind}/{locale}", tag = "business",
    operation_id = "get_template",
    params(("kind" = String, Path), ("locale" = String, Path), Freshness),
    responses((status = 200, body = TemplateAnswer)))]
pub(crate) async fn get(
    member: Member,
    State(api): State<Api>,
    path: Ids<GuestKind, Locale>,
    // As in the list.
    extract::Query(_fresh): extract::Query<Freshness>,
) -> Result<Tagged<TemplateAnswer>, Problem> {
    let found = api.template(member, of(path)).await?;
    Ok(Tagged(found.version, TemplateAnswer::of(found)))
}

/// Say a message in these words from now on. What is left out is said in our own.
#[utoipa::path(put, path = "/api/v1/business/templates/{kind}/{locale}", tag = "business",
    operation_id = "set_template",
    params(("kind" = String, Path), ("locale" = String, Path),
           ("If-Match" = String, Header, description = "its ETag, or *")),
    request_body = TemplateWords,
    responses((status = 200, body = TemplateAnswer),
              (status = 422, body = Problem, description = "a part that does not parse or cannot be rendered, \
                with the line and the reason")))]
pub(crate) async fn put(
    member: Member,
    State(api): State<Api>,
    path: Ids<GuestKind, Locale>,
    IfMatch(expected): IfMatch,
    extract::Json(words): extract::Json<TemplateWords>,
) -> Result<Written<TemplateAnswer>, Problem> {
    let (of, parts) = (of(path), words.checked()?);
    let (business, _) = api.business_of(member.business_id, None).await?;
    let tried = api.templates.check(of.kind, &parts, &business, clock::now());
    tried.map_err(unrendered)?;
    let context = context::command(member.business_id, member.actor());
    let counted = api.commands.count_for_business(api.limits.template_changes, &context).await;
    counted.map_err(|error| Problem::of(error, Problem::used_up))?;
    let changed = api.commands.change_template(&of, &parts, expected, &context).await;
    let position = changed.map_err(refused)?.position;
    api.template_written(member, of, position).await
}

/// Say a message in our own words again.
#[utoipa::path(delete, path = "/api/v1/business/templates/{kind}/{locale}", tag = "business",
    operation_id = "remove_template",
    params(("kind" = String, Path), ("locale" = String, Path),
           ("If-Match" = String, Header, description = "its ETag, or *")),
    responses((status = 204)))]
pub(crate) async fn remove(
    member: Member,
    State(api): State<Api>,
    path: Ids<GuestKind, Locale>,
    IfMatch(expected): IfMatch,
) -> Result<Written<()>, Problem> {
    let context = context::command(member.business_id, member.actor());
    let counted = api.commands.count_for_business(api.limits.template_changes, &context).await;
    counted.map_err(|error| Problem::of(error, Problem::used_up))?;
    let removed = api.commands.remove_template(&of(path), expected, &context).await;
    Ok(Written::empty(removed.map_err(refused)?.position))
}

/// See what a message would be with these words, and where a part is left out with those in force.
///
/// It is about a visit that nobody has: tomorrow at ten, of the first service, with the first of the staff.
#[utoipa::path(post, path = "/api/v1/business/templates/{kind}/{locale}/preview", tag = "business",
    operation_id = "preview_template",
    params(("kind" = String, Path), ("locale" = String, Path)),
    request_body = TemplateWords,
    responses((status = 200, body = TemplatePreview),
              (status = 422, body = Problem, description = "a part that does not parse or cannot be rendered, \
                with the line and the reason")))]
pub(crate) async fn preview(
    member: Member,
    State(api): State<Api>,
    path: Ids<GuestKind, Locale>,
    extract::Json(words): extract::Json<TemplateWords>,
) -> Result<Json<TemplatePreview>, Problem> {
    let (of, words) = (of(path), words.checked()?);
    let kind = of.kind;
    let in_force = api.template(member, of).await?.own.unzip().1.unwrap_or_default();
    let (business, _) = api.business_of(member.business_id, None).await?;
    let rendered = api.templates.preview(kind, &words.or(in_force), &business, clock::now());
    Ok(Json(rendered.map_err(unrendered)?.into()))
}

/// Mail what is in force, about a visit that nobody has, to somebody of the business.
///
/// The subject begins with `[Test]`. It is no message to a guest: when the mail server does not take it, that is
/// all that happens.
#[utoipa::path(post, path = "/api/v1/business/templates/{kind}/{locale}/test-send", tag = "business",
    operation_id = "test_template",
    params(("kind" = String, Path), ("locale" = String, Path)),
    request_body = TestRequest,
    responses((status = 200, body = TestSent),
              (status = 502, body = Problem, description = "`mail_refused`: the mail server does not take it, \
                and says why in `answer`; `mail_uncertain`: nobody knows whether it took it"),
              (status = 503, body = Problem, description = "also `mail_unavailable`: the mail server does not \
                take it now, and says why in `answer`")))]
pub(crate) async fn test_send(
    member: Member,
    State(api): State<Api>,
    path: Ids<GuestKind, Locale>,
    extract::Json(request): extract::Json<TestRequest>,
) -> Result<Written<TestSent>, Problem> {
    let context = context::command(member.business_id, member.actor());
    let (business, _) = api.business_of(member.business_id, None).await?;
    let (who, to) = api.test_recipient(member, request.to.as_deref(), &business).await?;
    let found = api.template(member, of(path)).await?;
    let words = found.own.unzip().1.unwrap_or_default();
    let rendered = api.templates.preview(found.of.kind, &words, &business, clock::now());
    let rendered = rendered.map_err(unrendered)?;
    let counted = api.commands.count_for_business(api.limits.template_tests, &context).await;
    counted.map_err(|error| Problem::of(error, Problem::used_up))?;
    let from = &business.profile.value.name;
    let sent = api.templates.send_test(from, rendered, &to).await;
    let TestTaken { subject, answer } = sent.map_err(not_sent)?;
    let noted = api.commands.note_template_test(&found.of, who, &context).await;
    let position = noted.map_err(refused)?.position;
    Ok(Written::new(StatusCode::OK, position, TestSent { to, subject, answer }))
}

fn not_sent(untaken: TestUntaken) -> Problem {
    let (status, code, detail, answer) = match untaken {
        TestUntaken::Refused { permanent: true, answer } => {
            (StatusCode::BAD_GATEWAY, "mail_refused", "the mail server does not take it", answer)
        }
        TestUntaken::Refused { permanent: false, answer } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "mail_unavailable",
            "the mail server does not take it now; try again",
            answer,
        ),
        TestUntaken::Unknown { answer } => (
            StatusCode::BAD_GATEWAY,
            "mail_uncertain",
            "nobody knows whether the mail server took it",
            answer,
        ),
    };
    Problem::new(status, code, detail).with("answer", answer)
}
