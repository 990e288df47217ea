use std::{
    marker::PhantomData,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection, Row};
use streams::{Cursor, Database, consumer::Failure, log::Stored};

use super::{
    Phase, Progress, RebuildError, Watcher,
    model::Rebuilt,
    read::{self, Pages},
    shadow::Shadow,
};
use crate::changes::Changes;

/// Events in one transaction.
pub(super) const SIZES: RangeInclusive<i64> = 100..=16_000;
const BEGIN: i64 = 2_000;
/// A writing transaction stalls the feed for everybody: fewer events when one takes longer.
const LONG: Duration = Duration::from_millis(300);
const SHORT: Duration = Duration::from_millis(100);
/// So close behind the checkpoint that the rest can be applied under a lock.
const CLOSE: u64 = 500;

/// Fills the new tables, up to the live checkpoint and never beyond it.
pub(super) struct Build<'a, M> {
    pub(super) shadow: Shadow,
    /// Reads the log; lent to the task that reads ahead.
    reader: Option<PgConnection>,
    page: Arc<AtomicI64>,
    sizes: RangeInclusive<i64>,
    /// How far the new tables are.
    pub(super) cursor: Cursor,
    /// Events applied.
    pub(super) events: u64,
    pub(super) watcher: Watcher<'a>,
    model: PhantomData<M>,
}

impl<'a, M: Rebuilt> Build<'a, M> {
    pub(super) async fn begin(
        database: &Database,
        shadow: Shadow,
        sizes: RangeInclusive<i64>,
        watcher: Watcher<'a>,
    ) -> Result<Self, RebuildError> {
        let mut reader = database.connect().await?;
        read::prepare(&mut reader).await?;
        Ok(Self {
            shadow,
            reader: Some(reader),
            page: Arc::new(AtomicI64::new(BEGIN.clamp(*sizes.start(), *sizes.end()))),
            sizes,
            cursor: Cursor::START,
            events: 0,
            watcher,
            model: PhantomData,
        })
    }

    /// Up to where the projector is; it goes on meanwhile. Whether it has ever run.
    pub(super) async fn catch_up(&mut self) -> Result<bool, RebuildError> {
        loop {
            let checkpoint = checkpoint(&mut self.shadow.connection, M::NAME, "").await?;
            let before = self.events;
            self.build(checkpoint.unwrap_or(Cursor::START)).await?;
            if self.events - before <= CLOSE {
                return Ok(checkpoint.is_some());
            }
        }
    }

    /// Exactly up to `until`.
    pub(super) async fn build(&mut self, until: Cursor) -> Result<(), RebuildError> {
        if until < self.cursor {
            return Err(RebuildError::SetBack {
                consumer: M::NAME,
                now: until,
                built: self.cursor,
            });
        }
        let Some(reader) = self.reader.take() else {
            return Err(RebuildError::Postgres(sqlx::Error::WorkerCrashed));
        };
        let page = Arc::clone(&self.page);
        let mut pages = Pages::read(reader, M::Changes::KINDS, self.cursor, until, page);
        let built = self.write_all(&mut pages, until).await;
        self.reader = Some(pages.end().await?);
        built?;
        self.cursor = until;
        Ok(())
    }

    async fn write_all(&mut self, pages: &mut Pages, until: Cursor) -> Result<(), RebuildError> {
        while let Some(page) = pages.next().await? {
            self.apply(&page).await?;
            if let Some(last) = page.last() {
                let done = last.cursor()?.position.unsigned_abs();
                let total = until.position.unsigned_abs();
                let events = self.events;
                (self.watcher)(Progress { phase: Phase::Build, done, total, events });
            }
        }
        Ok(())
    }

    /// As many events as make one transaction now.
    pub(super) fn page_size(&self) -> usize {
        usize::try_from(self.page.load(Ordering::Relaxed)).unwrap_or(1).max(1)
    }

    fn pace(&self, took: Duration) {
        let size = self.page.load(Ordering::Relaxed);
        let next = if took > LONG {
            size / 2
        } else if took < SHORT {
            size * 2
        } else {
            size
        };
        self.page.store(next.clamp(*self.sizes.start(), *self.sizes.end()), Ordering::Relaxed);
    }

    /// One transaction with these events, and a longer or shorter one next time.
    pub(super) async fn apply(&mut self, page: &[Stored]) -> Result<(), RebuildError> {
        let began = Instant::now();
        self.write(page).await?;
        self.pace(began.elapsed());
        self.events += page.len() as u64;
        Ok(())
    }

    /// A page with COPY; one that cannot be copied as the projector does it, in ever smaller parts,
    /// until it is known which event cannot be applied.
    async fn write(&mut self, page: &[Stored]) -> Result<(), RebuildError> {
        match self.attempt(page, How::Copied).await? {
            Ok(()) => return Ok(()),
            Err(refused) => tracing::debug!(refused, "a page cannot be copied"),
        }
        let mut parts = vec![page];
        while let Some(part) = parts.pop() {
            match (self.attempt(part, How::Written).await?, part) {
                (Ok(()), _) => {}
                (Err(reason), [event]) => return Err(named(event, reason)),
                (Err(_), part) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    /// One transaction; the inner error is about the events themselves.
    async fn attempt(
        &mut self,
        page: &[Stored],
        how: How,
    ) -> Result<Result<(), String>, RebuildError> {
        let changes = match fold::<M>(page) {
            Ok(changes) => changes,
            Err(failure) => return refused(failure).map(Err),
        };
        let mut transaction = self.shadow.connection.begin().await?;
        let written = match how {
            How::Copied => changes.copy(&mut transaction).await,
            How::Written => changes.write(&mut transaction).await,
        };
        match written {
            Ok(()) => transaction.commit().await?,
            Err(failure) => {
                transaction.rollback().await?;
                return refused(failure).map(Err);
            }
        }
        Ok(Ok(()))
    }
}

#[derive(Debug, Clone, Copy)]
enum How {
    Copied,
    Written,
}

/// What these events change.
pub(super) fn fold<M: Rebuilt>(page: &[Stored]) -> Result<M::Changes, Failure> {
    let mut changes = M::Changes::default();
    for event in page {
        changes.take(&event.fact()?)?;
    }
    Ok(changes)
}

fn refused(failure: Failure) -> Result<String, RebuildError> {
    match failure {
        Failure::Poison(error) | Failure::Unreadable(error) => Ok(error.to_string()),
        Failure::Transient(error) => Err(RebuildError::Write(error)),
    }
}

fn named(event: &Stored, reason: String) -> RebuildError {
    match event.fact() {
        Ok(fact) => RebuildError::Event {
            event_id: fact.event_id,
            event_type: fact.event_type.to_owned(),
            position: fact.cursor,
            reason,
        },
        Err(error) => RebuildError::Postgres(error),
    }
}

/// How far a projector is; `None` when it has never run. `lock` is what follows the query.
pub(super) async fn checkpoint(
    connection: &mut PgConnection,
    consumer: &str,
    lock: &str,
) -> Result<Option<Cursor>, sqlx::Error> {
    let sql = format!(
        "SELECT transaction_id::text::bigint AS transaction_id, position
           FROM public.consumer_checkpoint WHERE consumer = $1 {lock}"
    );
    let row = sqlx::query(&sql).bind(consumer).fetch_optional(connection).await?;
    let cursor = |row: sqlx::postgres::PgRow| {
        Ok(Cursor {
            transaction_id: row.try_get("transaction_id")?,
            position: row.try_get("position")?,
        })
    };
    row.map(cursor).transpose()
}
