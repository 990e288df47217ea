//! Reads settings, and remembers what was wrong and what came of each.

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use serde::Serialize;

/// Names beginning so are ours.
pub(super) const PREFIX: &str = "APPTREMIND_";
/// A secret may stand in a file: then the setting with this ending names the file.
const FILE: &str = "_FILE";
/// No secret is longer.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Text that is not shown: addresses with passwords.
pub(crate) struct Secret(String);

impl Secret {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Every setting that is wrong, with the reason.
#[derive(Debug)]
pub(crate) struct SettingsError(pub(super) Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these settings are not valid (see .env.example):")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for SettingsError {}

/// A setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Effective {
    /// With the prefix.
    pub(crate) name: String,
    /// Never a secret.
    pub(crate) value: String,
    /// `default`, `environment`, or `file`.
    pub(crate) source: &'static str,
}

pub(super) struct Reader {
    values: BTreeMap<String, String>,
    pub(super) errors: Vec<String>,
    pub(super) effective: Vec<Effective>,
}

impl Reader {
    pub(super) const fn new(values: BTreeMap<String, String>) -> Self {
        Self { values, errors: vec![], effective: vec![] }
    }

    /// Takes the value, so that what is left at the end is a name that nobody asked for. Empty is absent.
    fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(&format!("{PREFIX}{name}")).filter(|value| !value.is_empty())
    }

    pub(super) fn wrong(&mut self, name: &str, rule: impl fmt::Display) {
        self.errors.push(format!("{PREFIX}{name} {rule}"));
    }

    pub(super) fn check(&mut self, holds: bool, name: &str, rule: &str) {
        if !holds {
            self.wrong(name, rule);
        }
    }

    fn note(&mut self, name: &str, value: String, source: &'static str) {
        self.effective.push(Effective { name: format!("{PREFIX}{name}"), value, source });
    }

    pub(super) fn text(&mut self, name: &str, default: &str) -> String {
        match self.take(name) {
            Some(value) => {
                self.note(name, value.clone(), "environment");
                value
            }
            None => {
                self.note(name, default.to_owned(), "default");
                default.to_owned()
            }
        }
    }

    /// From the setting, or from the file that the one with `_FILE` names; `None` when there is neither.
    pub(super) fn secret(&mut self, name: &str) -> Option<String> {
        let file = format!("{name}{FILE}");
        let (own, path) = (self.take(name), self.take(&file));
        match (own, path) {
            (Some(_), Some(_)) => {
                let rule = format!("and {PREFIX}{file} exclude each other");
                self.wrong(name, rule);
                None
            }
            (Some(value), None) => {
                self.note(name, redacted(&value), "environment");
                Some(value)
            }
            (None, Some(path)) => match read_secret(Path::new(&path)) {
                Ok(value) => {
                    self.note(name, redacted(&value), "file");
                    Some(value)
                }
                Err(error) => {
                    self.wrong(&file, format!("cannot be read: {error}"));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// A secret that has a value without being told.
    pub(super) fn secret_or(&mut self, name: &str, default: &str) -> String {
        let wrong = self.errors.len();
        self.secret(name).unwrap_or_else(|| {
            if self.errors.len() == wrong {
                self.note(name, redacted(default), "default");
            }
            default.to_owned()
        })
    }

    pub(super) fn number<T: Copy + FromStr + PartialOrd + fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        let text = self.text(name, &default.to_string());
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => number,
            Ok(_) | Err(_) => {
                self.wrong(name, format!("must be a number from {least} to {most}"));
                default
            }
        }
    }

    /// `on` or `off`.
    pub(super) fn switch(&mut self, name: &str, default: bool) -> bool {
        let text = self.text(name, if default { "on" } else { "off" });
        self.check(matches!(text.as_str(), "on" | "off"), name, "must be on or off");
        text == "on"
    }

    /// Parts between commas, each of which must parse; none when it is empty.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        rule: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let text = self.text(name, "");
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
        let parsed: Vec<T> = parts.iter().filter_map(|part| parse(part)).collect();
        self.check(parsed.len() == parts.len(), name, rule);
        parsed
    }

    /// Names that nobody asked for: mostly mistakes, and a limit that is spelled wrongly does not hold. Not
    /// errors, because some platforms put names of their own beside ours.
    pub(super) fn left(&self, known: &[&str]) -> Vec<String> {
        let known = |name: &str| known.iter().any(|known| name == format!("{PREFIX}{known}"));
        self.values.keys().filter(|name| !known(name)).cloned().collect()
    }
}

/// An address without its password; anything else not at all.
fn redacted(secret: &str) -> String {
    let hide = |part: &str| match url::Url::parse(part.trim()) {
        Ok(mut url) if url.has_host() && url.password().is_some() => {
            let hidden = url.set_password(Some("redacted"));
            hidden.map_or_else(|()| "[redacted]".to_owned(), |()| url.to_string())
        }
        Ok(url) if url.has_host() => url.to_string(),
        Ok(_) | Err(_) => "[redacted]".to_owned(),
    };
    secret.split(',').map(hide).collect::<Vec<_>>().join(",")
}

/// Without the line end that editors put there.
fn read_secret(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > LONGEST_SECRET {
        return Err(std::io::Error::other("it is too large for a secret"));
    }
    let text = std::fs::read_to_string(path)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
