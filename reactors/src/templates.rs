//! Words of a business's own, for whoever writes them: tried on a sample, and mailed to see how they look.

use std::sync::Arc;

use domain::{
    AppointmentId,
    business::BusinessState,
    message_template::{Part, TemplateParts},
    notification::Kind,
};
use jiff::Timestamp;
use streams::clock;
use uuid::Uuid;

use crate::{
    GuestLinks,
    mail::{Mail, Mails, PartError, Rendered, Sample, Shape, TemplateError, Urls},
    provider::{HandOver, Refusal},
    smtp::Smtp,
};

/// Before the subject of what is sent to see how it looks.
const MARK: &str = "[Test] ";

/// Renders samples and mails them.
#[derive(Debug)]
pub struct Templates {
    mails: Mails,
    smtp: Arc<Smtp>,
    links: Arc<dyn GuestLinks>,
}

/// A test that the mail server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestTaken {
    /// The subject that it has.
    pub subject: String,
    /// In the words of the server.
    pub answer: String,
}

/// What else became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestUntaken {
    /// The mail server did not take it.
    Refused {
        /// There is no point in trying again.
        permanent: bool,
        /// In the words of the server.
        answer: String,
    },
    /// It went out, and nobody said whether it was taken.
    Unknown {
        /// What happened.
        answer: String,
    },
}

impl Templates {
    /// Mails by this server, with links of this kind.
    ///
    /// # Errors
    /// When a template of ours does not parse.
    pub fn try_new(smtp: Arc<Smtp>, links: Arc<dyn GuestLinks>) -> Result<Self, TemplateError> {
        Ok(Self { mails: Mails::try_new()?, smtp, links })
    }

    /// Our own words for a part of a message to guests.
    #[must_use]
    pub fn built_in(kind: Kind, part: Part) -> &'static str {
        Mails::source(kind, part)
    }

    /// Whether a message can be said so, whatever is known of business and guest; where a part is missing, in
    /// our own words.
    ///
    /// # Errors
    /// Each part that cannot be rendered, and why.
    pub fn check(
        &self,
        kind: Kind,
        words: &TemplateParts,
        business: &BusinessState,
        now: Timestamp,
    ) -> Result<(), Vec<PartError>> {
        for shape in [Shape::AsItIs, Shape::Full, Shape::Bare] {
            self.rendered(kind, words, business, (now, shape))?;
        }
        Ok(())
    }

    /// A sample in these words: tomorrow at ten, of the first service, with the first of the staff.
    ///
    /// # Errors
    /// Each part that cannot be rendered, and why.
    pub fn preview(
        &self,
        kind: Kind,
        words: &TemplateParts,
        business: &BusinessState,
        now: Timestamp,
    ) -> Result<Rendered, Vec<PartError>> {
        self.rendered(kind, words, business, (now, Shape::AsItIs))
    }

    fn rendered(
        &self,
        kind: Kind,
        words: &TemplateParts,
        business: &BusinessState,
        (now, shape): (Timestamp, Shape),
    ) -> Result<Rendered, Vec<PartError>> {
        let sample = Sample::of(kind, business, now, shape);
        let odd = |error: domain::EmptySlot| {
            vec![PartError { part: Part::Text, reason: error.to_string() }]
        };
        // As long as any, and leads nowhere: there is no such appointment.
        let nobody = AppointmentId::new(Uuid::nil());
        let unsubscribe = (kind == Kind::Reminder).then(|| self.links.unsubscribe_url(nobody));
        let manage = self.links.manage_url(nobody);
        let urls = Urls { manage: &manage, unsubscribe: unsubscribe.as_deref() };
        self.mails.preview(words, &sample.map_err(odd)?, urls)
    }

    /// Mails a sample, under the timeouts of any mail. It is no message to a guest: nothing is planned, tried
    /// again or kept as evidence.
    ///
    /// # Errors
    /// When the mail server did not take it, or did not say.
    pub async fn send_test(
        &self,
        from_name: &str,
        rendered: Rendered,
        to: &str,
    ) -> Result<TestTaken, TestUntaken> {
        let subject = format!("{MARK}{}", rendered.subject);
        let mail = Mail {
            from_name: from_name.to_owned(),
            subject: subject.clone(),
            text: rendered.text,
            html: rendered.html,
            invitation: None,
            unsubscribe: None,
        };
        let name = format!("test_{}", clock::new_id().simple());
        let message = self.smtp.letter(&name, &mail, &[to.to_owned()]);
        let message = message
            .map_err(|error| TestUntaken::Refused { permanent: true, answer: error.to_string() })?;
        let handed_over = match self.smtp.prepare(&message).await {
            Ok(ready) => ready.hand_over(&message.formatted()).await,
            Err(refusal) => HandOver::Refused(refusal),
        };
        match handed_over {
            HandOver::Accepted { answer, .. } => Ok(TestTaken { subject, answer }),
            HandOver::Refused(Refusal { permanent, answer, .. }) => {
                Err(TestUntaken::Refused { permanent, answer })
            }
            HandOver::Unknown { answer, .. } => Err(TestUntaken::Unknown { answer }),
        }
    }
}
