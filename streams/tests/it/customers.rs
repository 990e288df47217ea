//! Customers are found by their address, many in one query.

use domain::{BusinessId, CustomerId};
use futures::future::join_all;
use streams::{
    clock,
    log::{GuestAddress, KnownCustomer, NewCustomer, UnitOfWork},
};
use testkit::eventually;

use crate::tally::{Bench, counted, stream, unit};

fn known_as(customer_id: CustomerId) -> Option<KnownCustomer> {
    Some(KnownCustomer { customer_id, version: 0 })
}

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
    let asked = || ["ada@example.com", "bob@example.com"].map(GuestAddress::email);
    let found =
        join_all(known.iter().map(|(business_id, _)| bench.log.customers(*business_id, asked())))
            .await;
    for ((_, ada), found) in known.iter().zip(found) {
        assert_eq!(found.unwrap(), [known_as(*ada), None]);
    }
    let none = bench.log.customers(BusinessId::new(clock::new_id()), asked()).await.unwrap();
    assert_eq!(none, [None, None]);
    assert_eq!(bench.log.customers(known[0].0, []).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_ended_meanwhile_is_replaced() {
    let bench = Bench::new(2).await;
    let (business_id, ada) = business(&bench, 0).await;
    let find =
        async || bench.log.customers(business_id, [GuestAddress::email("ADA@example.com")]).await;
    assert_eq!(find().await.unwrap(), [known_as(ada)]);
    let others = "FROM pg_stat_activity WHERE datname = current_database()
                     AND pid <> pg_backend_pid() AND query LIKE '%WITH ORDINALITY%'";
    let end = format!("SELECT pg_terminate_backend(pid)::text {others}");
    assert!(!bench.database.texts(&end).await.is_empty(), "the connection is kept");
    eventually("it is gone", async || {
        bench.database.texts(&format!("SELECT pid::text {others}")).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(find().await.unwrap(), [known_as(ada)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_number_is_that_of_whoever_had_it_first_however_it_is_written() {
    let bench = Bench::new(2).await;
    let business_id = BusinessId::new(clock::new_id());
    let written = [
        "+44 20 7946 0000",
        "+442079460000",
        "(+44) 20-7946.0000",
        " +44 20 7946 0000",
        "020 7946 0000",
        "(020) 7946-0000",
        "44 20 7946 0000",
        "0044 20 7946 0000",
    ];
    let mut first = std::collections::BTreeMap::new();
    for (nr, phone) in written.iter().enumerate() {
        let customer_id = CustomerId::new(clock::new_id());
        let mut unit: UnitOfWork = unit(business_id);
        unit.append_after(&stream(format!("stream-{nr}")), 0, counted([1])).unwrap();
        unit.customer(NewCustomer {
            customer_id,
            name: "Ada".to_owned(),
            email: (nr % 2 == 0).then(|| format!("guest{nr}@example.com")),
            phone: Some((*phone).to_owned()),
        });
        bench.log.commit(&unit).await.unwrap();
        first.entry(GuestAddress::phone(phone)).or_insert(customer_id);
    }
    let numbers = ["+442079460000", "02079460000", "442079460000", "00442079460000"];
    let numbers = numbers.map(|digits| GuestAddress::Phone(digits.to_owned()));
    assert!(first.keys().eq(&std::collections::BTreeSet::from(numbers)), "{first:?}");
    let mixed = written.map(GuestAddress::phone).into_iter();
    let mixed =
        mixed.chain([GuestAddress::email("Guest2@example.com"), GuestAddress::phone("12345")]);
    let found = bench.log.customers(business_id, mixed).await.unwrap();
    for (phone, found) in written.iter().zip(&found) {
        assert_eq!(*found, known_as(first[&GuestAddress::phone(phone)]), "{phone}");
    }
    assert!(found[8].is_some() && found[9].is_none(), "{found:?}");
    let there = [GuestAddress::phone("+442079460000")];
    let there = bench.log.customers(BusinessId::new(clock::new_id()), there).await.unwrap();
    assert_eq!(there, [None]);
}
