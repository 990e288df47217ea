//! The second wall between tenants: row-level security.

use domain::BusinessId;
use sqlx::{Connection, PgConnection};
use streams::clock;

use crate::tally::{Bench, stream};

/// Every table that says whose its rows are, but for the directory: it is how a business is found.
const TABLES: &str = "
SELECT c.oid::regclass::text, c.relrowsecurity,
       (SELECT array_agg(p.policyname::text || ' ' || array_to_string(p.roles, ',')
                         ORDER BY p.policyname)
          FROM pg_policies p
         WHERE (p.schemaname, p.tablename) = (c.relnamespace::regnamespace::text, c.relname))
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relkind = 'r' AND a.attname = 'business_id' AND NOT a.attisdropped
   AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
   AND c.relname <> 'directory'
 ORDER BY 1";

#[tokio::test]
async fn every_table_of_tenants_is_behind_the_second_wall() {
    let bench = Bench::new(1).await;
    let tables: Vec<(String, bool, Option<Vec<String>>)> =
        sqlx::query_as(TABLES).fetch_all(bench.log.database().system()).await.unwrap();
    assert!(tables.len() > 20, "{tables:?}");
    for (table, secured, policies) in tables {
        assert!(secured, "{table} has no row-level security");
        let wanted = ["system apptremind_system", "tenant apptremind_app"];
        assert_eq!(policies.unwrap_or_default(), wanted, "{table}");
    }
}

#[tokio::test]
async fn a_query_that_forgets_whose_rows_it_wants_sees_those_of_the_tenant_alone() {
    let bench = Bench::new(2).await;
    bench.count(&stream("a"), 0, &[1, 2]).await.unwrap();
    let (database, own) = (bench.log.database(), bench.business);
    let forgetful = "SELECT count(*) FROM events";
    let count = async |connection: &mut PgConnection| -> i64 {
        sqlx::query_scalar(forgetful).fetch_one(connection).await.unwrap()
    };
    assert_eq!(count(&mut database.tenant(own).await.unwrap()).await, 2);
    let other = BusinessId::new(clock::new_id());
    assert_eq!(count(&mut database.tenant(other).await.unwrap()).await, 0);
    assert_eq!(count(&mut database.begin(other).await.unwrap()).await, 0);
    // And again on the connection that was somebody else's a moment ago.
    assert_eq!(count(&mut database.tenant(own).await.unwrap()).await, 2);
    let all: i64 = sqlx::query_scalar(forgetful).fetch_one(database.system()).await.unwrap();
    assert_eq!(all, 2);
    // As the role of the application is without being told anything.
    let mut plain = PgConnection::connect(&bench.database.app_url()).await.unwrap();
    assert_eq!(count(&mut plain).await, 0);
    let role: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut plain).await.unwrap();
    assert_eq!(role, "apptremind_app");
}

#[tokio::test]
async fn nothing_is_written_into_another_tenant() {
    let bench = Bench::new(2).await;
    let (database, own) = (bench.log.database(), bench.business);
    let insert = "INSERT INTO customer (customer_id, business_id, name) VALUES ($1, $2, 'Ada')";
    let other = BusinessId::new(clock::new_id());
    let mut tenant = database.tenant(own).await.unwrap();
    for (business, allowed) in [(own, true), (other, false)] {
        let written = sqlx::query(insert)
            .bind(clock::new_id())
            .bind(business.uuid())
            .execute(&mut *tenant)
            .await;
        assert_eq!(written.is_ok(), allowed, "{written:?}");
    }
    drop(tenant);
    let mut tenant = database.tenant(other).await.unwrap();
    for forgetful in ["UPDATE customer SET name = 'Eve'", "DELETE FROM customer"] {
        let touched = sqlx::query(forgetful).execute(&mut *tenant).await.unwrap();
        assert_eq!(touched.rows_affected(), 0, "{forgetful}");
    }
    // Who signs in is nobody's business at all.
    for secret in ["app_user", "refresh_token", "session", "signing_key", "password_reset"] {
        let refused = sqlx::query(&format!("SELECT * FROM {secret}")).execute(&mut *tenant).await;
        assert!(refused.is_err(), "{secret}");
    }
}
