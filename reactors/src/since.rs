//! Since when messages of a kind are planned. A build that is the first to know a kind notes where it
//! began: guests are not told again of what was called off long ago when the feed is read anew.

use std::collections::HashMap;

use domain::notification::Kind;
use sqlx::PgConnection;
use streams::Cursor;

/// Kinds that came after the first release.
const LATER: [Kind; 5] = [
    Kind::Cancellation,
    Kind::HostBooked,
    Kind::HostRequested,
    Kind::HostRescheduled,
    Kind::HostCancelled,
];

/// Where in the feed each of the later kinds begins.
pub(crate) struct Since {
    known: HashMap<String, Cursor>,
    /// Where those begin that nobody has planned yet.
    first: Cursor,
}

impl Since {
    /// As it was noted; what was not begins with the first event of this batch.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        first: Cursor,
    ) -> Result<Self, sqlx::Error> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT kind, transaction_id::text::bigint, position FROM message_kind_since",
        )
        .fetch_all(connection)
        .await?;
        let cursor = |(kind, transaction_id, position)| (kind, Cursor { transaction_id, position });
        Ok(Self { known: rows.into_iter().map(cursor).collect(), first })
    }

    /// Whether an event at this place has messages of the kind.
    pub(crate) fn plans(&self, kind: Kind, at: Cursor) -> bool {
        !LATER.contains(&kind) || *self.known.get(kind.as_str()).unwrap_or(&self.first) <= at
    }

    /// Notes what was not noted. Not before the transaction's events are appended.
    pub(crate) async fn note(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let new = LATER.iter().map(|kind| kind.as_str());
        let new: Vec<&str> = new.filter(|kind| !self.known.contains_key(*kind)).collect();
        if new.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO message_kind_since (kind, transaction_id, position)
             SELECT kind, $2::text::xid8, $3 FROM unnest($1::text[]) AS k (kind)
             ON CONFLICT (kind) DO NOTHING",
        )
        .bind(new)
        .bind(self.first.xid())
        .bind(self.first.position)
        .execute(connection)
        .await?;
        Ok(())
    }
}
