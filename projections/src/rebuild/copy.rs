//! Rows in the binary form of COPY: <https://www.postgresql.org/docs/current/sql-copy.html>.

use jiff::Timestamp;
use sqlx::PgConnection;
use streams::consumer::Failure;
use uuid::Uuid;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// Postgres counts microseconds from the year 2000.
const EPOCH: i64 = 946_684_800_000_000;
/// Handed over at once, so that Postgres works while the rest is sent.
const PIECE: usize = 128 * 1024;

/// Rows on their way into one table.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: i16,
    bytes: Vec<u8>,
}

impl Rows {
    /// Of so many columns each.
    pub(crate) fn new(columns: i16) -> Self {
        Self { columns, bytes: SIGNATURE.to_vec() }
    }

    /// The next values belong to a new row.
    pub(crate) fn begin(&mut self) {
        self.bytes.extend(self.columns.to_be_bytes());
    }

    pub(crate) fn uuid(&mut self, id: Uuid) {
        self.value(id.as_bytes());
    }

    /// An array of one dimension: its head is the number of dimensions, whether there are nulls, the
    /// type of the elements, how many there are, and the number of the first.
    pub(crate) fn uuids(&mut self, ids: &[Uuid]) {
        const UUID: i32 = 2950;
        let mut array = Vec::with_capacity(20 + ids.len() * 20);
        let count = i32::try_from(ids.len()).unwrap_or(i32::MAX);
        let head: &[i32] = if ids.is_empty() { &[0, 0, UUID] } else { &[1, 0, UUID, count, 1] };
        array.extend(head.iter().flat_map(|number| number.to_be_bytes()));
        for id in ids {
            array.extend(16_i32.to_be_bytes());
            array.extend(id.as_bytes());
        }
        self.value(&array);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.value(text.as_bytes());
    }

    pub(crate) fn integer(&mut self, number: i32) {
        self.value(&number.to_be_bytes());
    }

    pub(crate) fn bigint(&mut self, number: i64) {
        self.value(&number.to_be_bytes());
    }

    pub(crate) fn instant(&mut self, at: Timestamp) {
        self.bigint(at.as_microsecond().saturating_sub(EPOCH));
    }

    /// A value that may be absent.
    pub(crate) fn maybe<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.bytes.extend(NULL),
        }
    }

    fn value(&mut self, bytes: &[u8]) {
        // Longer than two gigabytes is nothing that an event can carry.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(bytes);
    }

    /// Copies them into `table`, whose columns are named in the order of the values.
    pub(crate) async fn send(
        mut self,
        connection: &mut PgConnection,
        table: &str,
        columns: &str,
    ) -> Result<(), Failure> {
        if self.bytes.len() == SIGNATURE.len() {
            return Ok(());
        }
        self.bytes.extend(TRAILER);
        let statement = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
        let mut copy = connection.copy_in_raw(&statement).await?;
        for piece in self.bytes.chunks(PIECE) {
            copy.send(piece).await?;
        }
        copy.finish().await?;
        Ok(())
    }
}
