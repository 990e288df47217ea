use domain::{
    Aggregate, api_key::ApiKey, business::Business, customer::Customer, invitation::Invitation,
    login::Login, message_template::MessageTemplate, staff_schedule::StaffSchedule,
    subscription::Subscription, team::Team, user::User,
};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use streams::{consumer::Failure, log::Fact};
use uuid::Uuid;

use crate::{changes::Changes, rebuild::Rows};

/// One event that is in the audit.
#[derive(Debug)]
struct Entry {
    event_id: Uuid,
    business_id: Uuid,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    at: Timestamp,
    position: i64,
}

/// What a batch adds to `audit`.
#[derive(Debug, Default)]
pub(crate) struct AuditChanges(Vec<Entry>);

const COLUMNS: &str = "event_id, business_id, aggregate_type, aggregate_id, sequence, event_type, at, \
    position";

impl Changes for AuditChanges {
    const KINDS: &'static [&'static str] = &[
        Business::TYPE,
        StaffSchedule::TYPE,
        Customer::TYPE,
        Subscription::TYPE,
        User::TYPE,
        Login::TYPE,
        Team::TYPE,
        Invitation::TYPE,
        ApiKey::TYPE,
        MessageTemplate::TYPE,
    ];

    fn take(&mut self, fact: &Fact<'_>) -> Result<(), Failure> {
        if Self::KINDS.contains(&fact.kind) {
            self.0.push(Entry {
                event_id: fact.event_id,
                business_id: fact.business_id.uuid(),
                aggregate_type: fact.kind.to_owned(),
                aggregate_id: fact.stream_id.to_owned(),
                sequence: fact.sequence,
                event_type: fact.event_type.to_owned(),
                at: fact.occurred_at,
                position: fact.cursor.position,
            });
        }
        Ok(())
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let all = || self.0.iter();
        let sql = format!(
            "INSERT INTO entry ({COLUMNS})
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[],
                                  $6::text[], $7::timestamptz[], $8::bigint[])
             ON CONFLICT (event_id) DO NOTHING"
        );
        sqlx::query(&sql)
            .bind(all().map(|e| e.event_id).collect::<Vec<_>>())
            .bind(all().map(|e| e.business_id).collect::<Vec<_>>())
            .bind(all().map(|e| e.aggregate_type.as_str()).collect::<Vec<_>>())
            .bind(all().map(|e| e.aggregate_id.as_str()).collect::<Vec<_>>())
            .bind(all().map(|e| e.sequence).collect::<Vec<_>>())
            .bind(all().map(|e| e.event_type.as_str()).collect::<Vec<_>>())
            .bind(all().map(|e| e.at.to_sqlx()).collect::<Vec<_>>())
            .bind(all().map(|e| e.position).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn copy(self, connection: &mut PgConnection) -> Result<(), Failure> {
        let mut rows = Rows::new(8);
        for entry in &self.0 {
            rows.begin();
            rows.uuid(entry.event_id);
            rows.uuid(entry.business_id);
            rows.text(&entry.aggregate_type);
            rows.text(&entry.aggregate_id);
            rows.bigint(entry.sequence);
            rows.text(&entry.event_type);
            rows.instant(entry.at);
            rows.bigint(entry.position);
        }
        rows.send(connection, "entry", COLUMNS).await
    }
}
