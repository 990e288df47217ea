//! What a batch of events changes in a read model. The projector writes it into the live tables, a
//! rebuild into new ones: both see one meaning of each event.

use std::str::FromStr;

use sqlx::PgConnection;
use streams::{
    BoxError,
    consumer::Failure,
    log::{Fact, Recorded},
};

/// The net effect of a batch, folded in memory: of a row that changes twice only the end is written.
pub(crate) trait Changes: Default + Send {
    /// The aggregates whose events mean something to the model.
    const KINDS: &'static [&'static str];

    /// Takes the next event in; one of another aggregate means nothing.
    fn take(&mut self, fact: &Fact<'_>) -> Result<(), Failure>;

    /// Writes into tables that others read, whatever stands there.
    fn write(
        self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes with COPY into tables that nobody reads yet. Fails where [`Self::write`] would replace
    /// a row without being told that there is one.
    fn copy(
        self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The projector of every read model.
pub(crate) async fn project<C: Changes>(
    connection: &mut PgConnection,
    batch: &[Recorded],
) -> Result<(), Failure> {
    let mut changes = C::default();
    for event in batch {
        changes.take(&event.fact())?;
    }
    changes.write(connection).await
}

/// An id that an event carries as text.
pub(crate) fn id_of<T: FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: Into<BoxError>,
{
    text.parse().map_err(|error: T::Err| Failure::Poison(error.into()))
}

/// A number as tables keep it. What is too large is cut: the domain's limits lie far below.
pub(crate) fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
