use jiff::Timestamp;
use sqlx::{
    Decode, Postgres, Type,
    error::BoxDynError,
    postgres::{PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef},
};

use crate::ReadError;

/// A `timestamptz` as Postgres sends it in arrays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Micros(i64);

/// Postgres counts from the year 2000.
const EPOCH: i64 = 946_684_800_000_000;

impl Micros {
    pub(super) fn instant(self) -> Result<Timestamp, ReadError> {
        Timestamp::from_microsecond(self.0.saturating_add(EPOCH))
            .map_err(|error| ReadError::Store(error.into()))
    }
}

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Decode<'_, Postgres> for Micros {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?))),
            PgValueFormat::Text => Err("a timestamp that is not binary".into()),
        }
    }
}
