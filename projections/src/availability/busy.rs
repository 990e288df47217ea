use std::collections::{BTreeMap, btree_map::Entry};

use domain::{StaffId, TimeSlot, staff_calendar::StaffCalendarEvent};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Fact};
use uuid::Uuid;

use crate::{
    changes::{id_of, integer},
    rebuild::Rows,
};

#[derive(Debug)]
struct BusyRow {
    kind: &'static str,
    slot: TimeSlot,
    before: u32,
    after: u32,
}

/// What becomes of one row.
#[derive(Debug)]
struct Net {
    /// The batch begins by taking it away, so it stands there.
    stands: bool,
    row: Option<BusyRow>,
}

#[derive(Debug)]
struct Week {
    business_id: Uuid,
    staff_id: Uuid,
    /// By appointment or time off.
    sources: BTreeMap<Uuid, Net>,
}

/// What a batch changes in `busy`, by stream.
#[derive(Debug, Default)]
pub(super) struct BusyChanges(BTreeMap<String, Week>);

const COLUMNS: &str = "stream_id, source_id, kind, business_id, staff_id, starts_at, ends_at, \
    buffer_before_minutes, buffer_after_minutes";

impl BusyChanges {
    pub(super) fn take(
        &mut self,
        fact: &Fact<'_>,
        event: &StaffCalendarEvent,
    ) -> Result<(), Failure> {
        let (source, row) = match *event {
            StaffCalendarEvent::Reserved {
                appointment_id,
                slot,
                buffer_before_minutes: before,
                buffer_after_minutes: after,
            } => (appointment_id.uuid(), Some(BusyRow { kind: "visit", slot, before, after })),
            StaffCalendarEvent::Released { appointment_id } => (appointment_id.uuid(), None),
            StaffCalendarEvent::TimeOffAdded { time_off_id, slot } => {
                let row = BusyRow { kind: "time_off", slot, before: 0, after: 0 };
                (time_off_id.uuid(), Some(row))
            }
            StaffCalendarEvent::TimeOffRemoved { time_off_id } => (time_off_id.uuid(), None),
            // Seats of classes stand in the second wall, where they are counted.
            StaffCalendarEvent::SeatsTaken { .. } | StaffCalendarEvent::SeatsGivenBack { .. } => {
                return Ok(());
            }
        };
        let week = match self.0.get_mut(fact.stream_id) {
            Some(week) => week,
            None => {
                let staff = fact.stream_id.split(':').next().unwrap_or_default();
                let staff_id = id_of::<StaffId>(staff)?.uuid();
                let business_id = fact.business_id.uuid();
                let week = Week { business_id, staff_id, sources: BTreeMap::new() };
                self.0.entry(fact.stream_id.to_owned()).or_insert(week)
            }
        };
        match week.sources.entry(source) {
            Entry::Occupied(mut there) => there.get_mut().row = row,
            Entry::Vacant(vacant) => drop(vacant.insert(Net { stands: row.is_none(), row })),
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Week, &Uuid, &Net)> {
        self.0.iter().flat_map(|(stream, week)| {
            week.sources.iter().map(move |(source, net)| (stream.as_str(), week, source, net))
        })
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &Week, &Uuid, &BusyRow)> {
        self.all().filter_map(|(stream, week, source, net)| {
            Some((stream, week, source, net.row.as_ref()?))
        })
    }

    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), Failure> {
        // Whether it was said or not: a row may stand there.
        let keys = self.all().map(|(stream, _, source, _)| (stream, *source)).unzip();
        delete(connection, keys).await?;
        if self.rows().next().is_none() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO busy ({COLUMNS})
             SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[],
                                  $6::timestamptz[], $7::timestamptz[], $8::integer[], $9::integer[])"
        );
        sqlx::query(&sql)
            .bind(self.rows().map(|(stream, _, _, _)| stream).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, _, source, _)| *source).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, _, _, row)| row.kind).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, week, _, _)| week.business_id).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, week, _, _)| week.staff_id).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, _, _, row)| row.slot.start().to_sqlx()).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, _, _, row)| row.slot.end().to_sqlx()).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, _, _, row)| integer(row.before)).collect::<Vec<_>>())
            .bind(self.rows().map(|(_, _, _, row)| integer(row.after)).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }

    pub(super) async fn copy(self, connection: &mut PgConnection) -> Result<(), Failure> {
        // A row that was added and taken away again: nothing is copied that would meet an older one.
        let standing = self.all().filter(|(_, _, _, net)| net.stands || net.row.is_none());
        delete(connection, standing.map(|(stream, _, source, _)| (stream, *source)).unzip())
            .await?;
        let mut rows = Rows::new(9);
        for (stream, week, source, row) in self.rows() {
            rows.begin();
            rows.text(stream);
            rows.uuid(*source);
            rows.text(row.kind);
            rows.uuid(week.business_id);
            rows.uuid(week.staff_id);
            rows.instant(row.slot.start());
            rows.instant(row.slot.end());
            rows.integer(integer(row.before));
            rows.integer(integer(row.after));
        }
        rows.send(connection, "busy", COLUMNS).await
    }
}

async fn delete(
    connection: &mut PgConnection,
    (streams, sources): (Vec<&str>, Vec<Uuid>),
) -> Result<(), Failure> {
    if streams.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM busy USING unnest($1::text[], $2::uuid[]) AS gone (stream, source)
          WHERE busy.stream_id = gone.stream AND busy.source_id = gone.source",
    )
    .bind(streams)
    .bind(sources)
    .execute(connection)
    .await?;
    Ok(())
}
