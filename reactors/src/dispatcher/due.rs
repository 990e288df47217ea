//! What is to be handed out next: what is due, as much as the senders have room for; when more is due than that,
//! of every business in turn, so that the many messages of one do not hold up the few of another.

use domain::notification::Channel;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::work::{self, Work};

/// So many messages of a channel may be offered or under way at a time: some seconds of work, so that an offer
/// never waits for longer than its lease.
const ROOM: i64 = 1_000;
/// So many leases that have ended are settled at a time.
const LAPSED: i64 = 500;
/// Of so many businesses messages are handed out in one round.
const BUSINESSES: i64 = 2_000;

/// Offers that nobody took up, and sends whose sender fell silent.
pub(super) async fn lapsed(connection: &mut PgConnection) -> Result<Vec<Work>, sqlx::Error> {
    let sql = format!(
        "SELECT {} FROM notification
          WHERE state IN ('offered', 'sending') AND lease_until <= now()
          ORDER BY lease_until LIMIT $1",
        work::COLUMNS
    );
    let rows = sqlx::query(&sql).bind(LAPSED).fetch_all(connection).await?;
    rows.iter().map(work::from_row).collect()
}

/// What is due of a channel, at most as much as there is room for; whether there was more. Where the provider is
/// asked only so often no more than `limit` are offered at a time, however many are under way.
pub(super) async fn of(
    connection: &mut PgConnection,
    channel: Channel,
    limit: Option<i64>,
) -> Result<(Vec<Work>, bool), sqlx::Error> {
    let limit = limit.filter(|limit| *limit < ROOM);
    let all = limit.unwrap_or(ROOM);
    let sql = format!(
        "SELECT {} FROM notification
          WHERE state = 'pending' AND channel = $1 AND next_at <= now()
          ORDER BY next_at LIMIT $2",
        work::COLUMNS
    );
    let rows =
        sqlx::query(&sql).bind(channel.as_str()).bind(all + 1).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok((vec![], false));
    }
    let room = (all - under_way(connection, channel, limit.is_some()).await?).max(0);
    if rows.len() as i64 <= room {
        return Ok((rows.iter().map(work::from_row).collect::<Result<_, _>>()?, false));
    }
    // Not for a few at a time: to look for whose turn it is costs as much for one as for many.
    if room < (all / 2).max(1) {
        return Ok((vec![], false));
    }
    Ok((in_turn(connection, channel, room).await?, true))
}

async fn under_way(
    connection: &mut PgConnection,
    channel: Channel,
    only_offered: bool,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM notification
          WHERE state IN ('offered', 'sending') AND channel = $1
            AND (state = 'offered' OR NOT $2)",
    )
    .bind(channel.as_str())
    .bind(only_offered)
    .fetch_one(connection)
    .await
}

/// The oldest of each business, then the second oldest, and so on.
async fn in_turn(
    connection: &mut PgConnection,
    channel: Channel,
    room: i64,
) -> Result<Vec<Work>, sqlx::Error> {
    // From one business to the next by the index, without a look at the messages between; nor at all that are due,
    // as Postgres would if it were asked whether there are some.
    let businesses: Vec<Uuid> = sqlx::query(
        "WITH RECURSIVE b (id) AS (
           (SELECT business_id FROM notification
             WHERE state = 'pending' AND channel = $1 ORDER BY business_id LIMIT 1)
           UNION ALL
           SELECT (SELECT n.business_id FROM notification n
                    WHERE n.state = 'pending' AND n.channel = $1 AND n.business_id > b.id
                    ORDER BY n.business_id LIMIT 1)
             FROM b WHERE b.id IS NOT NULL)
         SELECT id FROM b
          WHERE (SELECT n.next_at FROM notification n
                  WHERE n.state = 'pending' AND n.channel = $1 AND n.business_id = b.id
                  ORDER BY n.next_at LIMIT 1) <= now()
          LIMIT $2",
    )
    .bind(channel.as_str())
    .bind(BUSINESSES)
    .fetch_all(&mut *connection)
    .await?
    .iter()
    .map(|row| row.try_get("id"))
    .collect::<Result<_, _>>()?;
    let each = (room / (businesses.len().max(1) as i64)).max(1) + 1;
    // Numbered only once they are few: a window is filled with all that are due at the same moment.
    let sql = format!(
        "SELECT due.* FROM unnest($2::uuid[]) AS b (id)
          CROSS JOIN LATERAL (
                SELECT first.*, row_number() OVER (ORDER BY next_at) AS turn
                  FROM (SELECT {}, next_at FROM notification
                         WHERE state = 'pending' AND channel = $1 AND business_id = b.id
                           AND next_at <= now()
                         ORDER BY next_at LIMIT $3) AS first) AS due
          ORDER BY due.turn, due.next_at LIMIT $4",
        work::COLUMNS
    );
    let rows = sqlx::query(&sql)
        .bind(channel.as_str())
        .bind(businesses)
        .bind(each)
        .bind(room)
        .fetch_all(connection)
        .await?;
    rows.iter().map(work::from_row).collect()
}
