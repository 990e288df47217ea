//! Customers: found again, looked up, changed, and merged.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    replay::replay,
    salon::{Salon, start_in, text, wait_until},
    stand::{Addresses, Answer, Client, Process, Stand},
};

const BOOK: &str = "/api/v1/public/book";
const CUSTOMERS: &str = "/api/v1/customers";

/// Books for whoever that is, at their own time; answers whose visit it is.
async fn customer(salon: &Salon, client: &Client, minutes: i64, guest: Value) -> String {
    visit(salon, client, minutes, guest).await.1
}

async fn visit(salon: &Salon, client: &Client, minutes: i64, guest: Value) -> (String, String) {
    let mut body = salon.booking(0, start_in(minutes));
    body["customer"] = guest;
    let booked = client.post(BOOK, &body).await.expect(201);
    let id = text(&booked["appointment_id"]);
    let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
    (id, text(&shown["customer"]["id"]))
}

fn path(id: &str) -> String {
    format!("{CUSTOMERS}/{id}")
}

async fn merge(salon: &Salon, id: &str, into: &str) -> Answer {
    salon.owner.post(&format!("{}/merge", path(id)), &json!({ "into": into })).await
}

async fn change(salon: &Salon, id: &str, version: &str, change: Value) -> Answer {
    let request = salon.owner.request(Method::PATCH, &path(id)).header("If-Match", version);
    salon.owner.send(request.json(&change)).await
}

/// The ids that a list answers, when it is as new as `position`.
async fn visits_of(salon: &Salon, customer: &str, position: &str) -> BTreeSet<String> {
    let path = format!("/api/v1/appointments?customer_id={customer}&min_position={position}");
    let listed = salon.owner.read(&path).await.expect(200);
    listed["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
}

/// A gateway that no other can reach: it decides by itself, on what it keeps in mind.
async fn lonely(stand: &Stand) -> Process {
    let nats_url = "nats://127.0.0.1:1".to_owned();
    Process::start(&Addresses { nats_url, ..stand.addresses.clone() }, &["gateway"]).await
}

#[tokio::test]
async fn guests_are_found_again_by_email_or_else_by_phone() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let guest = salon.guest.clone();
    let who = async |minutes, guest_is: Value| customer(&salon, &guest, minutes, guest_is).await;
    let ada = json!({"name": "Ada", "email": "ada@example.com", "phone": "+44 20 7946 0000"});
    let ada = who(60, ada).await;
    // By the address, whatever else is said.
    let again = json!({"name": "A. Lovelace", "email": "ADA@example.com", "phone": "555 0100"});
    assert_eq!(who(70, again).await, ada);
    // By the number, when there is no address, however it is written.
    assert_eq!(who(80, json!({"name": "Ada", "phone": "(+44) 20-7946.0000"})).await, ada);
    // Families share one: another address is somebody else.
    let bob = json!({"name": "Bob", "email": "bob@example.com", "phone": "+442079460000"});
    let bob = who(90, bob).await;
    assert_ne!(bob, ada);
    assert_eq!(who(100, json!({"name": "Bob", "phone": "+442079460000"})).await, ada);
    // Without its country it is another number.
    let caller = who(110, json!({"name": "Eve", "phone": "020 7946 0000"})).await;
    assert!(caller != ada && caller != bob);
    assert_eq!(who(120, json!({"name": "Eve", "phone": "02079460000"})).await, caller);
    let stranger = who(130, json!({"name": "Nobody"})).await;
    assert_ne!(who(140, json!({"name": "Nobody"})).await, stranger);
    // Nobody who books changes what is known.
    let shown = salon.owner.read(&path(&ada)).await.expect(200);
    assert_eq!(
        (&shown["name"], &shown["email"], &shown["phone"]),
        (&json!("Ada"), &json!("ada@example.com"), &json!("+44 20 7946 0000"))
    );
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn customers_are_searched_and_listed_by_name_in_pages() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let names = ["Zoe", "ada Lovelace", "Ada Lovelace", "Bob 100%", "Élodie", "Grace Hopper"];
    for (n, name) in (0_i64..).zip(names) {
        let guest = json!({"name": name, "email": format!("g{n}@mail{n}.example"),
                           "phone": format!("+44 20 7946 000{n}")});
        customer(&salon, &salon.guest, 60 + 10 * n, guest).await;
    }
    let found = async |query: &str| -> Vec<String> {
        let listed = salon.owner.read(&format!("{CUSTOMERS}?{query}")).await.expect(200);
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|item| text(&item["name"])).collect()
    };
    let sorted = ["ada Lovelace", "Ada Lovelace", "Bob 100%", "Grace Hopper", "Zoe", "Élodie"];
    assert_eq!(found("").await, sorted);
    for (search, names) in [
        ("ada", vec!["ada Lovelace", "Ada Lovelace"]),
        ("LOVE", vec!["ada Lovelace", "Ada Lovelace"]),
        ("ada%20lov", vec!["ada Lovelace", "Ada Lovelace"]),
        ("%C3%89lo", vec!["Élodie"]),
        ("g3@", vec!["Bob 100%"]),
        ("100%25", vec!["Bob 100%"]),
        ("%25", vec![]),
        ("_", vec![]),
        ("%2B44%20(20)%207946-0005", vec!["Grace Hopper"]),
        ("4420", sorted.to_vec()),
        ("mail1", vec![]),
        ("7946", vec![]),
    ] {
        assert_eq!(found(&format!("search={search}")).await, names, "{search}");
    }
    for limit in 1..=6 {
        let (mut paged, mut next) = (vec![], String::new());
        loop {
            let path = format!("{CUSTOMERS}?limit={limit}{next}");
            let page = salon.owner.read(&path).await.expect(200);
            let items = page["items"].as_array().unwrap();
            assert!(!items.is_empty() && items.len() <= limit, "{page}");
            paged.extend(items.iter().map(|item| text(&item["name"])));
            match page["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(paged, sorted, "in pages of {limit}");
    }
    let other = Salon::open(&process.client(), 1).await;
    assert_eq!(other.owner.read(CUSTOMERS).await.expect(200)["items"], json!([]));
    let page = salon.owner.read(&format!("{CUSTOMERS}?limit=1")).await.expect(200);
    let unknown = format!("cursor={}", text(&page["next"]));
    for (client, query, field) in [
        (&salon.owner, "limit=0", "limit"),
        (&salon.owner, "limit=201", "limit"),
        (&salon.owner, "cursor=x", "cursor"),
        (&other.owner, unknown.as_str(), "cursor"),
        (&salon.owner, "search=%20", "search"),
        (&salon.owner, "search=a%00", "search"),
        (&salon.owner, "page=2", "page"),
    ] {
        let answer = client.read(&format!("{CUSTOMERS}?{query}")).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field], "{query}");
    }
    let long = format!("{CUSTOMERS}?search={}", "x".repeat(101));
    assert_eq!(salon.owner.read(&long).await.fields(), ["search"]);
}

#[tokio::test]
async fn a_customer_shows_what_became_of_their_visits() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 2).await;
    let begins = salon.begin_soon().await;
    let book = async |staff: usize, start: Timestamp| {
        text(&salon.book(staff, start).await.expect(201)["appointment_id"])
    };
    let (kept, missed) = (book(0, begins).await, book(1, begins).await);
    let tomorrow = salon.slots(&format!("&date={}", crate::business::next(2))).await;
    let later: Timestamp = text(&tomorrow[0]["start"]).parse().unwrap();
    let (coming, cancelled) = (book(0, later).await, book(1, later).await);
    let end = async |id: &str, how: &str, body: Option<&Value>| {
        let path = format!("/api/v1/appointments/{id}/{how}");
        let ended = salon.owner.call(Method::POST, &path, body).await;
        ended.header("x-position").to_owned()
    };
    let position = end(&cancelled, "cancel", Some(&json!({}))).await;
    let shown = salon.owner.read(&format!("/api/v1/appointments/{coming}")).await.expect(200);
    let ada = text(&shown["customer"]["id"]);
    let fresh = |position: &str| format!("{}?min_position={position}", path(&ada));
    let shown = salon.owner.read(&fresh(&position)).await.expect(200);
    assert_eq!(shown["visits"]["cancelled"], 1, "{shown}");
    wait_until(begins).await;
    end(&kept, "complete", None).await;
    let position = end(&missed, "no-show", None).await;
    let shown = salon.owner.read(&fresh(&position)).await.expect(200);
    let visits = json!({"booked": 1, "cancelled": 1, "completed": 1, "no_show": 1});
    assert_eq!(shown["visits"], visits);
    assert_eq!(
        (&shown["first_visit"], &shown["last_visit"], &shown["next_visit"]),
        (&json!(begins), &json!(begins), &json!(later))
    );
    assert_eq!((&shown["name"], &shown["notes"]), (&json!("Ada Guest"), &json!(null)));
}

#[tokio::test]
async fn the_owner_changes_a_customer_and_nobody_overwrites_another() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let guest = |name: &str| json!({"name": name, "email": format!("{name}@example.com")});
    let (visited, ada) = visit(&salon, &salon.guest, 60, guest("ada")).await;
    let bob = customer(&salon, &salon.guest, 70, guest("bob")).await;
    let shown = salon.owner.read(&path(&ada)).await;
    assert_eq!(shown.header("etag"), "\"0\"");

    let unconditional = salon.owner.request(Method::PATCH, &path(&ada)).json(&json!({}));
    Answer::of(unconditional.send().await.unwrap()).await.problem(428, "if_match_required");
    let wanted = json!({"name": "Ada L.", "phone": "+44 20 7946 0001", "notes": "mornings\nonly"});
    let answer = change(&salon, &ada, "\"0\"", wanted.clone()).await;
    assert_eq!(answer.header("etag"), "\"1\"");
    assert!(!answer.header("x-position").is_empty());
    let changed = answer.expect(200);
    for field in ["name", "phone", "notes"] {
        assert_eq!(changed[field], wanted[field], "{changed}");
    }
    assert_eq!(changed["email"], "ada@example.com", "it was not named");
    change(&salon, &ada, "\"0\"", json!({"notes": "x"})).await.problem(412, "stale");
    let unchanged = change(&salon, &ada, "\"1\"", json!({})).await;
    assert_eq!(unchanged.header("etag"), "\"1\"", "nothing was said");
    let emptied = change(&salon, &ada, "*", json!({"notes": null, "phone": null})).await;
    assert_eq!((&emptied.body["notes"], &emptied.body["phone"]), (&json!(null), &json!(null)));

    let taken = change(&salon, &ada, "*", json!({"email": "BOB@example.com"})).await;
    assert_eq!(taken.problem(409, "email_taken")["customer_id"], json!(bob));
    for (odd, field) in [
        (json!({"name": " "}), "name"),
        (json!({"email": "ada"}), "email"),
        (json!({"phone": "12"}), "phone"),
        (json!({"notes": "x".repeat(10_001)}), "notes"),
        (json!({"name": "A\u{0}"}), "name"),
        (json!({"email": "a\u{0}@example.com"}), "email"),
        (json!({"notes": "\u{0}"}), "notes"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let answer = change(&salon, &ada, "*", odd).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field]);
    }
    let nobody = path("cust_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f");
    salon.owner.edit(Method::PATCH, &nobody, &json!({"name": "X"})).await.problem(404, "not_found");

    let edits = process.metric("apptremind_customers_total{outcome=\"changed\"}").await;
    assert!((edits - 3.0).abs() < 0.5, "{edits}");
    // She is found by the new address from now on, and the old one is anybody's.
    change(&salon, &ada, "*", json!({"email": "countess@example.com"})).await.expect(200);
    assert_eq!(customer(&salon, &salon.guest, 80, guest("countess")).await, ada);
    assert_ne!(customer(&salon, &salon.guest, 90, guest("ada")).await, ada);
    // Visits keep the contact that was given with them, and events say nothing of it.
    let shown = salon.owner.read(&format!("/api/v1/appointments/{visited}")).await.expect(200);
    assert_eq!(shown["customer"]["email"], "ada@example.com");
    let events = "SELECT payload::text FROM events WHERE aggregate_type = 'customer'";
    let events = stand.database.texts(events).await;
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| !event.contains("example.com") && !event.contains("Ada")));
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn merging_moves_visits_addresses_and_what_is_known() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let guest = |name: &str| json!({"name": name, "email": format!("{name}@example.com")});
    let caller = json!({"name": "Ada", "phone": "+44 20 7946 0000"});
    let (first, ada) = visit(&salon, &salon.guest, 60, guest("ada")).await;
    let (second, other) = visit(&salon, &salon.guest, 70, guest("countess")).await;
    let (third, called) = visit(&salon, &salon.guest, 80, caller.clone()).await;
    change(&salon, &ada, "*", json!({"notes": "mornings"})).await.expect(200);
    change(&salon, &called, "*", json!({"notes": "by phone"})).await.expect(200);

    merge(&salon, &called, &other).await.expect(200);
    let answer = merge(&salon, &other, &ada).await;
    let position = answer.header("x-position").to_owned();
    assert_eq!(answer.header("etag"), "\"2\"");
    let kept = answer.expect(200);
    assert_eq!(kept["id"], json!(ada));
    assert_eq!(kept["email"], "ada@example.com");
    assert_eq!(kept["phone"], "+44 20 7946 0000", "it was not known of her");
    assert_eq!(kept["notes"], "mornings\n\nby phone");
    let again = merge(&salon, &other, &ada).await;
    assert_eq!(again.header("x-position"), position, "already so");
    again.expect(200);
    merge(&salon, &called, &ada).await.expect(200);

    // All three names show all visits, and each visit names her.
    let all = BTreeSet::from([first, second, third]);
    for id in [&ada, &other, &called] {
        assert_eq!(visits_of(&salon, id, &position).await, all);
        let shown = salon.owner.read(&format!("{}?min_position={position}", path(id))).await;
        assert_eq!(shown.header("etag"), "\"2\"");
        let shown = shown.expect(200);
        assert_eq!((&shown["id"], &shown["visits"]), (&json!(ada), &json!({"booked": 3})));
    }
    for id in &all {
        let shown = salon.owner.read(&format!("/api/v1/appointments/{id}")).await.expect(200);
        assert_eq!(shown["customer"]["id"], json!(ada));
    }
    let listed = salon.owner.read(CUSTOMERS).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    // Whatever address they give, it is her.
    for (n, guest) in (9..).zip([guest("ada"), guest("countess"), caller]) {
        assert_eq!(customer(&salon, &salon.guest, 10 * n, guest).await, ada);
    }
    // Who was merged is neither changed nor merged elsewhere, and says who stands for them.
    let stranger = customer(&salon, &salon.guest, 150, guest("eve")).await;
    for answer in [
        change(&salon, &called, "*", json!({"name": "X"})).await,
        merge(&salon, &called, &stranger).await,
        merge(&salon, &stranger, &other).await,
    ] {
        assert_eq!(answer.problem(409, "customer_merged")["into"], json!(ada));
    }
    let taken = change(&salon, &stranger, "*", json!({"email": "countess@example.com"})).await;
    assert_eq!(taken.problem(409, "email_taken")["customer_id"], json!(ada));
    // An address that was merged into her can become her own.
    let own = change(&salon, &ada, "*", json!({"email": "countess@example.com"})).await;
    assert_eq!(own.expect(200)["email"], "countess@example.com");
    for (into, field) in
        [(&stranger, "into"), (&"cust_0198c5a2b7f07c3d8e4f5a6b7c8d9e0f".into(), "into")]
    {
        let answer = merge(&salon, &stranger, into).await;
        answer.problem(422, "invalid_request");
        assert_eq!(answer.fields(), [field]);
    }
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

#[tokio::test]
async fn another_process_that_remembers_a_guest_books_for_whoever_they_are_now() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let second = lonely(&stand).await;
    let salon = Salon::open(&process.client(), 1).await;
    let there = salon.guest.at(&second);
    let guest = |name: &str| json!({"name": name, "email": format!("{name}@example.com")});
    let caller = json!({"name": "Cleo", "phone": "+44 20 7946 0000"});
    let ada = customer(&salon, &salon.guest, 60, guest("ada")).await;
    // The second one meets them, and keeps that in mind.
    let bob = customer(&salon, &there, 70, guest("bob")).await;
    let cleo = customer(&salon, &there, 80, caller.clone()).await;
    merge(&salon, &bob, &ada).await.expect(200);
    merge(&salon, &cleo, &ada).await.expect(200);
    assert_eq!(customer(&salon, &there, 90, guest("bob")).await, ada);
    assert_eq!(customer(&salon, &there, 100, caller.clone()).await, ada);
    let booked = "SELECT payload->'visit'->>'customer_id' FROM events
                   WHERE event_type = 'booking.appointment.booked.v1' ORDER BY position DESC LIMIT 2";
    let booked = stand.database.texts(booked).await;
    assert_eq!(booked, [ada.clone(), ada.clone()], "the events name her too");
    // Nor for whoever had the address before.
    change(&salon, &ada, "*", json!({"email": "countess@example.com"})).await.expect(200);
    assert_ne!(customer(&salon, &there, 110, guest("ada")).await, ada);
    assert_eq!(customer(&salon, &there, 120, guest("countess")).await, ada);
    stand.addresses.caught_up().await;
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_merged_crosswise_while_guests_book_everybody_is_somebody() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let second = lonely(&stand).await;
    let salon = Salon::open(&process.client(), 1).await;
    let guest = |n: i64| json!({"name": "G", "email": format!("g{n}@example.com")});
    let mut ids = vec![];
    for n in 0..6 {
        ids.push(customer(&salon, &salon.guest, 60 + 10 * n, guest(n)).await);
    }
    let clients = [salon.owner.clone(), salon.owner.at(&second)];
    let pairs = (0..6).flat_map(|a| (0..6).filter(move |b| *b != a).map(move |b| (a, b)));
    let merging = pairs.enumerate().map(|(n, (a, b))| {
        let (client, path) = (clients[n % 2].clone(), format!("{}/merge", path(&ids[a])));
        let body = json!({ "into": ids[b] });
        async move { client.post(&path, &body).await }
    });
    let booking = (0..24_i64).map(|n| {
        let mut body = salon.booking(0, start_in(200 + 10 * n));
        body["customer"] = guest(n % 6);
        let client = salon.guest.at(if n % 2 == 0 { &process } else { &second });
        async move { client.post(BOOK, &body).await }
    });
    let (merged, booked) =
        tokio::join!(futures::future::join_all(merging), futures::future::join_all(booking));
    let mut done = 0;
    for answer in &merged {
        answer.well_formed();
        assert!([200, 409, 503].contains(&answer.status), "{}", answer.body);
        done += usize::from(answer.status == 200);
    }
    assert!(done >= 1 && booked.iter().all(|answer| answer.status == 201), "{booked:?}");
    stand.addresses.caught_up().await;
    let listed = salon.owner.read(CUSTOMERS).await.expect(200);
    let left: BTreeSet<String> =
        listed["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect();
    assert!(!left.is_empty() && left.iter().all(|id| ids.contains(id)), "{listed}");
    let all = salon.owner.read("/api/v1/appointments?limit=200").await.expect(200);
    let all = all["items"].as_array().unwrap();
    assert_eq!(all.len(), 30);
    for item in all {
        assert!(left.contains(&text(&item["customer_id"])), "{item}");
    }
    replay(&stand, &["all", "--verify"]).await.assert_equal(false);
    stand.addresses.assert_healthy();
}
