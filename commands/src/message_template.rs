//! The words that a business has of its own. They stand in a table, which is written in the same transaction as
//! the events and is what these amount to: a stream that carries whole mails soon is too long to be read for each
//! change. Whoever decided on a row that is not the last one meets the primary key of the log.

use domain::{
    Decide, Locale,
    message_template::{
        MessageTemplate, MessageTemplateCommand, MessageTemplateError, TemplateParts,
        TestRecipient, template_id,
    },
    notification::Kind,
};
use sqlx::{PgConnection, Row};
use streams::{
    CommandContext, Cursor, feed,
    log::{CommitError, Loaded, StreamKey, UnitOfWork},
};

use crate::{
    CommandError, Commands, Done, Quota,
    again::until_decided,
    error::Attempt,
    quota::{self, UsedUp, subject},
};

/// Kinds and languages of one business.
const MOST: i64 = 200;

/// Of which message, in which language.
#[derive(Debug, Clone)]
pub struct TemplateOf {
    /// Of which kind of message.
    pub kind: Kind,
    /// In which language.
    pub locale: Locale,
}

/// Why a template was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRefused {
    /// The template's own rule.
    #[error(transparent)]
    Template(#[from] MessageTemplateError),
    /// The business has as many as there can be.
    #[error("a business has templates of {most} kinds and languages at most")]
    TooMany {
        /// So many.
        most: i64,
    },
}

type Tried<T> = Result<T, Attempt<TemplateRefused>>;
type Asked<T> = Result<T, CommandError<TemplateRefused>>;

impl Commands {
    /// Says a message in these words from now on. Whether they can be rendered was found out before.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(business.id = %context.business_id))]
    pub async fn change_template(
        &self,
        of: &TemplateOf,
        parts: &TemplateParts,
        expected: Option<u64>,
        context: &CommandContext,
    ) -> Asked<Done<()>> {
        let command = || MessageTemplateCommand::Change {
            kind: of.kind,
            locale: of.locale.clone(),
            parts: parts.clone(),
            expected,
        };
        let attempt = || self.try_template(of, command(), context);
        until_decided("change_template", attempt, |_| None).await
    }

    /// Says a message in our own words again.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(business.id = %context.business_id))]
    pub async fn remove_template(
        &self,
        of: &TemplateOf,
        expected: Option<u64>,
        context: &CommandContext,
    ) -> Asked<Done<()>> {
        let command = || MessageTemplateCommand::Remove { expected };
        let attempt = || self.try_template(of, command(), context);
        until_decided("remove_template", attempt, |_| None).await
    }

    /// Notes that a test was mailed.
    ///
    /// # Errors
    /// The rule that refused, or the store.
    #[tracing::instrument(skip_all, fields(business.id = %context.business_id))]
    pub async fn note_template_test(
        &self,
        of: &TemplateOf,
        to: TestRecipient,
        context: &CommandContext,
    ) -> Asked<Done<()>> {
        let (kind, locale) = (of.kind, &of.locale);
        let command = || MessageTemplateCommand::NoteTest { kind, locale: locale.clone(), to };
        let attempt = || self.try_template(of, command(), context);
        until_decided("note_template_test", attempt, |_| None).await
    }

    /// Counts one use, of which a business may make so many.
    ///
    /// # Errors
    /// When it is used up, or Postgres does not answer.
    pub async fn count_for_business(
        &self,
        quota: Quota,
        context: &CommandContext,
    ) -> Result<(), CommandError<UsedUp>> {
        let subject = subject(&[&context.business_id.to_string()]);
        match quota::take(self.log.database(), &[(quota, subject)]).await? {
            None => Ok(()),
            Some(used_up) => Err(CommandError::Refused(used_up)),
        }
    }

    async fn try_template(
        &self,
        of: &TemplateOf,
        command: MessageTemplateCommand,
        context: &CommandContext,
    ) -> Tried<Done<()>> {
        let before = self.template(of, context).await?;
        let events = before
            .state
            .decide(command)
            .map_err(|refused| Attempt::Refused(TemplateRefused::Template(refused)))?;
        if events.is_empty() {
            return Ok(Done::new((), self.position_of(&before).await?));
        }
        let mut after = before.state.clone();
        for event in &events {
            after.evolve(event.clone());
        }
        if before.state.parts.is_empty() && !after.parts.is_empty() {
            self.room_for_template(context).await?;
        }
        let mut unit = UnitOfWork::new(context.clone());
        unit.append(&before, events)?;
        let mut writing = self.log.begin(context.business_id).await?;
        let position = writing.append(&unit).await?;
        write(writing.connection(), of, &after, context).await?;
        writing.commit().await?;
        Ok(Done::new((), position))
    }

    /// Whether the business may have one more.
    async fn room_for_template(&self, context: &CommandContext) -> Tried<()> {
        let mut connection = self.log.database().tenant(context.business_id).await?;
        let there: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM message_template
              WHERE business_id = $1 AND num_nonnulls(subject, text, html, sms) > 0",
        )
        .bind(context.business_id.uuid())
        .fetch_one(&mut *connection)
        .await?;
        if there >= MOST {
            return Err(Attempt::Refused(TemplateRefused::TooMany { most: MOST }));
        }
        Ok(())
    }

    /// As its row has it.
    async fn template(
        &self,
        of: &TemplateOf,
        context: &CommandContext,
    ) -> Tried<Loaded<MessageTemplate>> {
        let id = template_id(context.business_id, of.kind, &of.locale);
        let mut connection = self.log.database().tenant(context.business_id).await?;
        let row = sqlx::query(
            "SELECT subject, text, html, sms, version, sequence FROM message_template
              WHERE template_id = $1 AND business_id = $2",
        )
        .bind(id.uuid())
        .bind(context.business_id.uuid())
        .fetch_optional(&mut *connection)
        .await?;
        let key = StreamKey::of::<MessageTemplate>(id);
        let Some(row) = row else {
            return Ok(Loaded { key, state: MessageTemplate::default(), sequence: 0 });
        };
        let number = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        let sequence = number("sequence")?;
        let parts = TemplateParts {
            subject: row.try_get("subject")?,
            text: row.try_get("text")?,
            html: row.try_get("html")?,
            sms: row.try_get("sms")?,
        };
        let state = MessageTemplate { parts, version: number("version")?, sequence };
        Ok(Loaded { key, state, sequence })
    }

    /// What the command answered that made the template what it is.
    async fn position_of(&self, template: &Loaded<MessageTemplate>) -> Result<Cursor, sqlx::Error> {
        let system = self.log.database().system();
        let last: Option<(i64, i64)> = sqlx::query_as(
            "SELECT transaction_id::text::bigint, position FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3",
        )
        .bind(&template.key.kind)
        .bind(&template.key.id)
        .bind(i64::try_from(template.sequence).unwrap_or(i64::MAX))
        .fetch_optional(system)
        .await?;
        match last {
            None => Ok(Cursor::START),
            Some((transaction_id, position)) => {
                feed::end_of_transaction(system, Cursor { transaction_id, position }).await
            }
        }
    }
}

/// What the events amount to now.
async fn write(
    connection: &mut PgConnection,
    of: &TemplateOf,
    template: &MessageTemplate,
    context: &CommandContext,
) -> Result<(), CommitError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let TemplateParts { subject, text, html, sms } = &template.parts;
    sqlx::query(
        "INSERT INTO message_template
                (template_id, business_id, kind, locale, subject, text, html, sms, version, sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (template_id) DO UPDATE
            SET locale = excluded.locale, subject = excluded.subject, text = excluded.text,
                html = excluded.html, sms = excluded.sms, version = excluded.version,
                sequence = excluded.sequence",
    )
    .bind(template_id(context.business_id, of.kind, &of.locale).uuid())
    .bind(context.business_id.uuid())
    .bind(of.kind.as_str())
    .bind(of.locale.as_str())
    .bind(subject)
    .bind(text)
    .bind(html)
    .bind(sms)
    .bind(number(template.version))
    .bind(number(template.sequence))
    .execute(connection)
    .await?;
    Ok(())
}
