//! The reference of a rebuild: every event is read once, in order, into its type, and dropped.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use domain::{
    Aggregate, appointment::Appointment, business::Business, notification::Notification,
    staff_calendar::StaffCalendar, staff_schedule::StaffSchedule, subscription::Subscription,
    user::User,
};
use futures::TryStreamExt;
use sqlx::{Row, postgres::PgRow, types::Json};
use streams::{Cursor, Database};

/// What the availability model is made of.
pub(crate) const AVAILABILITY: &[&str] =
    &[Business::TYPE, StaffSchedule::TYPE, StaffCalendar::TYPE];
/// Every aggregate.
pub(crate) const ALL: &[&str] = &[
    Business::TYPE,
    StaffSchedule::TYPE,
    StaffCalendar::TYPE,
    Appointment::TYPE,
    Subscription::TYPE,
    Notification::TYPE,
    User::TYPE,
];

/// Reads the events of these aggregates behind `from`: how many there were, and how long it took.
pub(crate) async fn typed_read(
    database: &Database,
    from: Cursor,
    kinds: &[&str],
) -> Result<(usize, Duration)> {
    let mut connection = database.connect().await?;
    // Along the index of the feed, as whoever reads in order does.
    sqlx::raw_sql("SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off")
        .execute(&mut connection)
        .await?;
    let began = Instant::now();
    let mut rows = sqlx::query(
        "SELECT transaction_id::text::bigint AS transaction_id, position, business_id, aggregate_type,
                aggregate_id, sequence, event_type, event_version, payload
           FROM events
          WHERE (transaction_id, position) > ($1::text::xid8, $2) AND aggregate_type = ANY($3)
          ORDER BY transaction_id, position",
    )
    .bind(from.xid())
    .bind(from.position)
    .bind(kinds)
    .fetch(&mut connection);
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        decode(&row)?;
        count += 1;
    }
    Ok((count, began.elapsed()))
}

fn decode(row: &PgRow) -> Result<()> {
    let kind: &str = row.try_get("aggregate_type")?;
    let readers = [
        of::<StaffCalendar>,
        of::<Appointment>,
        of::<Business>,
        of::<StaffSchedule>,
        of::<Notification>,
        of::<Subscription>,
        of::<User>,
    ];
    let read = readers.iter().find_map(|read| read(kind, row));
    read.with_context(|| format!("an event of the unknown aggregate {kind}"))?
}

fn of<A: Aggregate>(kind: &str, row: &PgRow) -> Option<Result<()>> {
    (kind == A::TYPE).then(|| {
        let Json(event) = row.try_get::<Json<A::Event>, _>("payload")?;
        drop(std::hint::black_box(event));
        Ok(())
    })
}
