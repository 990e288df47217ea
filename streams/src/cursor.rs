use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A place in the feed: (transaction, position), compared as a pair. Callers see an opaque string.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// Postgres' 64-bit transaction id.
    pub transaction_id: i64,
    /// Number of the event within the database.
    pub position: i64,
}

/// The text is not a position that a write answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a position as a write answered it")]
pub struct CursorError;

impl Cursor {
    /// Before the first event.
    pub const START: Self = Self { transaction_id: 0, position: 0 };

    pub(crate) const fn new(transaction_id: i64, position: i64) -> Self {
        Self { transaction_id, position }
    }

    /// The transaction as a parameter for `$n::text::xid8`.
    #[must_use]
    pub fn xid(&self) -> String {
        self.transaction_id.to_string()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.transaction_id, self.position)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let hex = |part: &str| match part.bytes().next() {
            Some(first) if first.is_ascii_hexdigit() => i64::from_str_radix(part, 16).ok(),
            _ => None,
        };
        let (transaction, position) = text.split_once('-').ok_or(CursorError)?;
        match (hex(transaction), hex(position)) {
            (Some(transaction_id), Some(position)) => Ok(Self { transaction_id, position }),
            _ => Err(CursorError),
        }
    }
}

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_is_compared_as_a_pair() {
        let cursor = Cursor::new(0x1_0000_0001, 42);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!(Cursor::new(1, 99) < Cursor::new(2, 1));
        for odd in ["", "-", "1", "1-", "+1-2", "-1-2", "x-y", "ffffffffffffffffff-1"] {
            assert!(odd.parse::<Cursor>().is_err(), "{odd}");
        }
    }
}
