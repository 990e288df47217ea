//! Reads the feed ahead of the writer.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use sqlx::PgConnection;
use streams::{Cursor, feed, log::Stored};
use tokio::{sync::mpsc, task::JoinHandle};

/// Pages that wait for the writer.
const AHEAD: usize = 2;

/// Pages of the feed, the next one read while the last is written.
pub(super) struct Pages {
    pages: mpsc::Receiver<Result<Vec<Stored>, sqlx::Error>>,
    reader: JoinHandle<PgConnection>,
}

impl Pages {
    /// Of the events behind `after`, up to `until`. How many make a page may change meanwhile.
    pub(super) fn read(
        mut connection: PgConnection,
        kinds: &'static [&'static str],
        mut after: Cursor,
        until: Cursor,
        size: Arc<AtomicI64>,
    ) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let reader = tokio::spawn(async move {
            loop {
                let limit = size.load(Ordering::Relaxed);
                let page = feed::page(&mut connection, kinds, after, until, limit).await;
                let last = page.as_ref().ok().and_then(|page| page.last());
                match last.map(Stored::cursor) {
                    Some(Ok(cursor)) => after = cursor,
                    // The end, or an error that the writer will meet as well.
                    None | Some(Err(_)) => {
                        drop(sender.send(page).await);
                        return connection;
                    }
                }
                if sender.send(page).await.is_err() {
                    return connection;
                }
            }
        });
        Self { pages, reader }
    }

    /// The next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Stored>>, sqlx::Error> {
        match self.pages.recv().await {
            Some(page) => page.map(|page| (!page.is_empty()).then_some(page)),
            None => Ok(None),
        }
    }

    /// The connection back, to read on later.
    pub(super) async fn end(self) -> Result<PgConnection, sqlx::Error> {
        drop(self.pages);
        self.reader.await.map_err(|_panicked| sqlx::Error::WorkerCrashed)
    }
}

/// Lets every page be read along the feed's index, whatever the planner thinks of the table.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for off in ["enable_sort", "enable_seqscan", "enable_bitmapscan"] {
        let set = format!("SET {off} = off");
        sqlx::query(&set).execute(&mut *connection).await?;
    }
    Ok(())
}
