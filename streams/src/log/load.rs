use std::collections::HashMap;

use domain::{Aggregate, BusinessId};
use sqlx::{PgExecutor, postgres::PgRow};

use super::{COLUMNS, CommitError, Recorded, StreamKey, from_row};

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

/// Reads all the streams in one query. Another tenant's stream is not found.
pub(super) async fn load(
    executor: impl PgExecutor<'_>,
    business_id: BusinessId,
    keys: &[StreamKey],
) -> Result<Histories, sqlx::Error> {
    let kinds: Vec<&str> = keys.iter().map(|key| key.kind.as_str()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let sql = format!(
        "SELECT {COLUMNS}
           FROM unnest($2::text[], $3::text[]) AS wanted (kind, id)
           JOIN events e ON e.aggregate_type = wanted.kind AND e.aggregate_id = wanted.id
          WHERE e.business_id = $1
          ORDER BY e.aggregate_type, e.aggregate_id, e.sequence"
    );
    let rows = sqlx::query(&sql)
        .bind(business_id.uuid())
        .bind(kinds)
        .bind(ids)
        .fetch_all(executor)
        .await?;
    by_stream(&rows)
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
