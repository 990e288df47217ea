//! Words of a business's own, which are nobody's fault but must never lose a message: they are rendered with
//! limits, and whatever is wrong with them is told to whoever writes them.

use std::io;

use domain::{
    BusinessId,
    message_template::{Part, TemplateParts},
    notification::Kind,
};
use minijinja::{Environment, Value, escape_formatter};

use super::{
    Mails, TEMPLATES, TemplateError, Urls, built_in, file_of, guest, language, sample::Sample,
};

/// Steps of one template.
const FUEL: u64 = 5_000;

/// Words of a business for one kind of message.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) business_id: BusinessId,
    pub(crate) parts: TemplateParts,
}

/// Why a part cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct PartError {
    /// Which part.
    pub part: Part,
    /// In one sentence, with the line where that is known.
    pub reason: String,
}

/// A message as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The subject of the mail.
    pub subject: String,
    /// The mail without markup.
    pub text: String,
    /// The mail with markup.
    pub html: String,
    /// The text message.
    pub sms: String,
}

impl Rendered {
    const fn part_mut(&mut self, part: Part) -> &mut String {
        match part {
            Part::Subject => &mut self.subject,
            Part::Text => &mut self.text,
            Part::Html => &mut self.html,
            Part::Sms => &mut self.sms,
        }
    }
}

/// The templates of ours, for words that are not. What there is none of is shown as nothing.
pub(super) fn environment(mut ours: Environment<'static>) -> Environment<'static> {
    ours.set_fuel(Some(FUEL));
    ours.set_formatter(
        |out, state, value| {
            if value.is_none() { Ok(()) } else { escape_formatter(out, state, value) }
        },
    );
    ours
}

impl Mails {
    /// Our own template for a part: where whoever writes their own begins.
    pub(crate) fn source(kind: Kind, part: Part) -> &'static str {
        let wanted = built_in(kind, part);
        let found = TEMPLATES.iter().find(|(name, _)| *name == wanted);
        found.map_or("", |(_, source)| source.trim_end_matches('\n'))
    }

    /// A part in these words, or else in ours.
    pub(super) fn part(
        &self,
        kind: Kind,
        part: Part,
        words: &TemplateParts,
        values: &Value,
    ) -> Result<String, PartError> {
        if let Some(source) = words.get(part) {
            return self.own_part(part, source, values);
        }
        let template = self.templates.get_template(&built_in(kind, part));
        let rendered = template.and_then(|template| template.render(values));
        rendered.map_err(|error| PartError { part, reason: said(&error) })
    }

    fn own_part(&self, part: Part, source: &str, values: &Value) -> Result<String, PartError> {
        let wrong = |reason| PartError { part, reason };
        let checked = language::check(part, source);
        checked.map_err(|fault| wrong(format!("line {}: {}", fault.line, fault.reason)))?;
        let mut out = Limited { bytes: vec![], most: most_bytes(part), full: false };
        let environment: &Environment<'_> = &self.own;
        let rendered = environment
            .template_from_named_str(file_of(part), source)
            .and_then(|template| template.render_captured_to(values, &mut out).map(drop));
        if out.full {
            return Err(wrong(too_long(part)));
        }
        rendered.map_err(|error| wrong(at_line(part, &error)))?;
        finish(part, String::from_utf8_lossy(&out.bytes).into_owned()).map_err(wrong)
    }

    /// In the business's own words, where there are any and they can be rendered: no message is lost for
    /// them.
    pub(super) fn own_or<T>(
        &self,
        kind: Kind,
        own: Option<&Own>,
        render: impl Fn(&TemplateParts) -> Result<T, PartError>,
    ) -> Result<T, TemplateError> {
        if let Some(Own { business_id, parts }) = own {
            match render(parts) {
                Ok(rendered) => return Ok(rendered),
                Err(error) => {
                    metrics::counter!("apptremind_template_failures_total", "kind" => kind.as_str())
                        .increment(1);
                    tracing::warn!(
                        %kind, business.id = %business_id, %error,
                        "the words of a business cannot be rendered; it is said in ours"
                    );
                }
            }
        }
        Ok(render(&TemplateParts::default())?)
    }

    /// A sample in these words, and where there are none in ours.
    pub(crate) fn preview(
        &self,
        words: &TemplateParts,
        sample: &Sample,
        urls: Urls<'_>,
    ) -> Result<Rendered, Vec<PartError>> {
        let kind = sample.kind;
        let values = guest::values(kind, &sample.about(), &sample.contact, urls);
        let (mut errors, mut rendered) = (vec![], Rendered::nothing());
        for part in Part::ALL {
            match self.part(kind, part, words, &values) {
                Ok(text) => *rendered.part_mut(part) = text,
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(rendered) } else { Err(errors) }
    }
}

impl Rendered {
    const fn nothing() -> Self {
        Self {
            subject: String::new(),
            text: String::new(),
            html: String::new(),
            sms: String::new(),
        }
    }
}

/// More is not written down.
const fn most_bytes(part: Part) -> usize {
    match part {
        Part::Subject => 4_000,
        Part::Sms => 8_000,
        Part::Text => 50_000,
        Part::Html => 200_000,
    }
}

/// And of these that many characters.
const fn most_characters(part: Part) -> usize {
    match part {
        Part::Subject => 200,
        Part::Sms => 1_600,
        Part::Text | Part::Html => usize::MAX,
    }
}

fn too_long(part: Part) -> String {
    match part {
        Part::Subject | Part::Sms => {
            format!("is longer than {} characters with sample data", most_characters(part))
        }
        Part::Text | Part::Html => {
            format!("is longer than {} bytes with sample data", most_bytes(part))
        }
    }
}

fn finish(part: Part, text: String) -> Result<String, String> {
    let text = match part {
        // A header is one line.
        Part::Subject => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Part::Sms => text.trim().to_owned(),
        Part::Text | Part::Html => text,
    };
    if text.trim().is_empty() {
        return Err("is empty with sample data".to_owned());
    }
    if text.chars().count() > most_characters(part) {
        return Err(too_long(part));
    }
    Ok(text)
}

/// What the engine says, in one line.
pub(super) fn said(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The line, when it is one of these words and not of what they include.
fn at_line(part: Part, error: &minijinja::Error) -> String {
    let line = error.line().filter(|_| error.name() == Some(file_of(part)));
    line.map_or_else(|| said(error), |line| format!("line {line}: {}", said(error)))
}

/// Takes so much and no more.
struct Limited {
    bytes: Vec<u8>,
    most: usize,
    full: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
