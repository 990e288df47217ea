use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A language, and perhaps where it is spoken so: a tag of BCP 47, such as `en` or `pt-BR`. Capital and small
/// letters are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locale(String);

/// The text is no such tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a language tag (BCP 47), such as en or pt-BR")]
pub struct NotALocale;

impl Locale {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for whoever writes it in other letters.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Itself, and then the language alone where that is less.
    #[must_use]
    pub fn with_fallbacks(self) -> Vec<Self> {
        let language = self.0.split_once('-').and_then(|(language, _)| language.parse().ok());
        std::iter::once(self).chain(language).collect()
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Locale {
    type Err = NotALocale;

    fn from_str(text: &str) -> Result<Self, NotALocale> {
        let tag = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits = (2..=35).contains(&text.len()) && text.bytes().all(tag);
        fits.then(|| Self(text.to_owned())).ok_or(NotALocale)
    }
}

impl TryFrom<String> for Locale {
    type Error = NotALocale;

    fn try_from(text: String) -> Result<Self, NotALocale> {
        text.parse()
    }
}

impl From<Locale> for String {
    fn from(locale: Locale) -> Self {
        locale.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_alone_comes_after_the_language_of_a_country() {
        let all = |text: &str| {
            let all = text.parse::<Locale>().unwrap().with_fallbacks();
            all.into_iter().map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(all("de-AT"), ["de-AT", "de"]);
        assert_eq!(all("de"), ["de"]);
        assert_eq!(all("sr-Latn-RS"), ["sr-Latn-RS", "sr"]);
        assert_eq!(all("x-own"), ["x-own"]);
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for odd in ["", "d", "de_AT", "de AT", "dé", &"a".repeat(36)] {
            assert_eq!(odd.parse::<Locale>(), Err(NotALocale), "{odd}");
        }
    }
}
