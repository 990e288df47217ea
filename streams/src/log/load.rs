use std::collections::HashMap;

use domain::Aggregate;
use sqlx::postgres::PgRow;

use super::{CommitError, Recorded, StreamKey, from_row};

/// The events of several streams, as one query found them.
#[derive(Debug, Default)]
pub struct Histories(HashMap<StreamKey, Vec<Recorded>>);

/// An aggregate as it was when its stream was read.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// Its stream.
    pub key: StreamKey,
    /// What it was.
    pub state: A,
    /// Sequence of the last event seen; zero for none.
    pub sequence: u64,
}

impl Histories {
    /// Folds one stream. A stream without events is the aggregate's default.
    ///
    /// # Errors
    /// When a stored event cannot be read.
    pub fn fold<A: Aggregate>(&self, key: &StreamKey) -> Result<Loaded<A>, CommitError> {
        let mut state = A::default();
        let mut sequence = 0;
        for event in self.events(key) {
            state.apply(event.decode::<A>()?);
            sequence = event.sequence;
        }
        Ok(Loaded { key: key.clone(), state, sequence })
    }

    /// The events of one stream, in order.
    #[must_use]
    pub fn events(&self, key: &StreamKey) -> &[Recorded] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

/// Rows in the order of their streams.
pub(super) fn by_stream(rows: &[PgRow]) -> Result<Histories, sqlx::Error> {
    let mut histories: HashMap<StreamKey, Vec<Recorded>> = HashMap::new();
    for row in rows {
        let event = from_row(row)?;
        match histories.get_mut(&event.stream) {
            Some(stream) => stream.push(event),
            None => {
                histories.insert(event.stream.clone(), vec![event]);
            }
        }
    }
    Ok(Histories(histories))
}
