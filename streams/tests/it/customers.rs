//! Customers are found by their address, many in one query.

use domain::{BusinessId, CustomerId};
use futures::future::join_all;
use streams::{
    clock,
    log::{NewCustomer, UnitOfWork},
};
use testkit::eventually;

use crate::tally::{Bench, counted, stream, unit};

/// A business with one customer.
async fn business(bench: &Bench, nr: u32) -> (BusinessId, CustomerId) {
    let business_id = BusinessId::new(clock::new_id());
    let customer_id = CustomerId::new(clock::new_id());
    let mut unit: UnitOfWork = unit(business_id);
    unit.append_after(&stream(format!("stream-{nr}")), 0, counted([1])).unwrap();
    unit.customer(NewCustomer {
        customer_id,
        name: "Ada".to_owned(),
        email: Some("Ada@example.com".to_owned()),
        phone: None,
    });
    bench.log.commit(&unit).await.unwrap();
    (business_id, customer_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_business_finds_its_own_customers_and_many_share_a_query() {
    let bench = Bench::new(2).await;
    let known = join_all((0..40).map(|nr| business(&bench, nr))).await;
    let asked = || ["ada@example.com", "bob@example.com"].map(str::to_owned);
    let found =
        join_all(known.iter().map(|(business_id, _)| bench.log.customers(*business_id, asked())))
            .await;
    for ((_, ada), found) in known.iter().zip(found) {
        assert_eq!(found.unwrap(), [Some(*ada), None]);
    }
    let none = bench.log.customers(BusinessId::new(clock::new_id()), asked()).await.unwrap();
    assert_eq!(none, [None, None]);
    assert_eq!(bench.log.customers(known[0].0, []).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_ended_meanwhile_is_replaced() {
    let bench = Bench::new(2).await;
    let (business_id, ada) = business(&bench, 0).await;
    let find = async || bench.log.customers(business_id, ["ada@example.com".to_owned()]).await;
    assert_eq!(find().await.unwrap(), [Some(ada)]);
    let others = "FROM pg_stat_activity WHERE datname = current_database()
                     AND pid <> pg_backend_pid() AND query LIKE '%WITH ORDINALITY%'";
    let end = format!("SELECT pg_terminate_backend(pid)::text {others}");
    assert!(!bench.database.texts(&end).await.is_empty(), "the connection is kept");
    eventually("it is gone", async || {
        bench.database.texts(&format!("SELECT pid::text {others}")).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(find().await.unwrap(), [Some(ada)]);
}
