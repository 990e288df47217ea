//! Clients that are slow, greedy or many, and the end of the process while it is in use: nobody
//! holds it up, and nobody's request breaks off.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::SignedDuration;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    salon::{Salon, start_in},
    stand::{Answer, Client, Process, Stand},
};

/// Between the bytes of a slow client.
const PACE: Duration = Duration::from_millis(100);
const MEBIBYTE: u64 = 1024 * 1024;
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Servers of the test's own, and these settings.
async fn stand_with(settings: &[(&'static str, &str)]) -> Stand {
    let mut stand = Stand::new().await;
    let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
    stand.addresses.settings.extend(settings);
    stand
}

/// For those who speak HTTP by hand.
async fn connect(client: &Client) -> TcpStream {
    TcpStream::connect(client.host()).await.unwrap()
}

/// All that the server says until it closes the connection; a reset closes it, too.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let reading = stream.read_to_end(&mut said);
    drop(tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it is closed"));
    String::from_utf8(said).unwrap()
}

/// Sends the bytes one by one until the server closes the connection: what it said.
async fn dribble(stream: TcpStream, bytes: &[u8]) -> String {
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        for byte in bytes {
            if writing.write_all(std::slice::from_ref(byte)).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(PACE).await;
        }
    };
    let mut said = Vec::new();
    tokio::select! {
        () = sending => panic!("the server waited for all of it"),
        // A reset closes it, too.
        _ = reading.read_to_end(&mut said) => {}
    }
    String::from_utf8(said).unwrap()
}

/// An answer as it is on the wire, when it is whole.
fn parsed(said: &str) -> Option<Answer> {
    let (head, body) = said.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    let answer = Answer { status, headers: headers.collect(), body };
    let length: usize = answer.header("content-length").parse().unwrap_or(0);
    (said.len() >= head.len() + "\r\n\r\n".len() + length).then_some(answer)
}

/// The next answer on a connection.
async fn answer(stream: &mut TcpStream) -> Answer {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if let Some(answer) = parsed(&text) {
            return answer;
        }
        assert!(stream.read_buf(&mut said).await.unwrap() > 0, "closed after {text:?}");
    }
}

/// A whole request and its answer.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Answer {
    stream.write_all(request).await.unwrap();
    answer(stream).await
}

/// Somebody who comes now is answered.
async fn answers_others(process: &Process) {
    assert_eq!(process.client().read("/healthz").await.status, 200);
}

/// Open connections of the API's listener.
async fn open(process: &Process) -> f64 {
    process.metric("apptremind_connections{listener=\"http\"}").await
}

#[tokio::test]
async fn a_head_that_dribbles_in_is_cut_off() {
    let stand = stand_with(&[("HTTP_HEADER_TIMEOUT_SECONDS", "1")]).await;
    let process = stand.serve().await;
    let client = process.client();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: {}\r\n\r\n", "x".repeat(1_000));
    let said = dribble(connect(&client).await, head.as_bytes()).await;
    assert_eq!(parsed(&said).map(|answer| answer.status), Some(408), "{said:?}");

    // The second request of a connection has no more time than the first.
    let mut stream = connect(&client).await;
    assert_eq!(exchange(&mut stream, HEALTH).await.status, 200);
    let said = dribble(stream, head.as_bytes()).await;
    assert_eq!(parsed(&said).map(|answer| answer.status), Some(408), "{said:?}");

    // Who says nothing at all is told nothing.
    assert_eq!(until_closed(&mut connect(&client).await).await, "");
    answers_others(&process).await;
}

#[tokio::test]
async fn a_connection_may_rest_between_two_requests_for_longer_than_a_head_may_take() {
    let stand = stand_with(&[("HTTP_HEADER_TIMEOUT_SECONDS", "1")]).await;
    let process = stand.serve().await;
    let mut stream = connect(&process.client()).await;
    for _ in 0..2 {
        assert_eq!(exchange(&mut stream, HEALTH).await.status, 200);
        // There is nothing to wait for: nothing must happen.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    assert_eq!(exchange(&mut stream, HEALTH).await.status, 200);
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_answered_408_and_cut_off() {
    let stand = stand_with(&[("HTTP_BODY_TIMEOUT_SECONDS", "1")]).await;
    let process = stand.serve().await;
    let mut stream = connect(&process.client()).await;
    let head = "POST /api/v1/public/book HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = dribble(stream, &[b' '; 1_000]).await;
    let answer = parsed(&said).unwrap_or_else(|| panic!("{said:?}"));
    answer.problem(408, "request_timeout");
    answers_others(&process).await;
}

#[tokio::test]
async fn a_head_with_too_much_in_it_is_refused() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let client = process.client();
    let long = format!("X-Long: {}\r\n", "x".repeat(100_000));
    let many = "X-Many: x\r\n".repeat(200);
    for headers in [long, many] {
        let mut stream = connect(&client).await;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        // It may be refused before it is sent.
        drop(stream.write_all(request.as_bytes()).await);
        let said = until_closed(&mut stream).await;
        assert_eq!(parsed(&said).map(|answer| answer.status), Some(431), "{said:?}");
    }
    answers_others(&process).await;
}

/// So that what is measured afterwards is not what a process needs anyway.
async fn warm_up(client: &Client, path: &str) {
    stream::iter(0..2_000)
        .for_each_concurrent(32, |_| async move {
            assert_eq!(client.read(path).await.status, 200);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_half_heads_cost_little_and_others_are_answered() {
    let stand = stand_with(&[("HTTP_HEADER_TIMEOUT_SECONDS", "60")]).await;
    let process = stand.serve().await;
    let client = process.client();
    warm_up(&client, "/healthz").await;
    let before = process.resident_bytes();
    let half = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half: {}", "x".repeat(1_000));
    let mut held = Vec::new();
    for _ in 0..2_000 {
        let mut stream = connect(&client).await;
        stream.write_all(half.as_bytes()).await.unwrap();
        held.push(stream);
    }
    eventually("all are connected", async || (open(&process).await >= 2_000.0).then_some(())).await;
    answers_others(&process).await;
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 64 * MEBIBYTE, "{} KiB for 2,000 half heads", grown / 1024);
    drop(held);
    eventually("none of them is left", async || (open(&process).await < 100.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_that_rest_cost_little() {
    let stand = Stand::new().await;
    let process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let path = format!("/api/v1/public/businesses/{}", salon.handle);
    warm_up(&salon.guest, &path).await;
    let before = process.resident_bytes();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let mut stream = connect(&salon.guest).await;
        assert_eq!(exchange(&mut stream, request.as_bytes()).await.status, 200);
        held.push(stream);
    }
    assert!(open(&process).await >= 1_000.0, "they are kept");
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 20 * MEBIBYTE, "{} KiB for 1,000 connections", grown / 1024);
}

#[tokio::test]
async fn where_all_places_are_taken_whoever_rests_makes_room() {
    let stand = stand_with(&[("HTTP_CONNECTIONS", "16")]).await;
    let process = stand.serve().await;
    let client = process.client();
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = connect(&client).await;
        assert_eq!(exchange(&mut stream, HEALTH).await.status, 200);
        held.push(stream);
    }
    assert!(open(&process).await <= 16.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_begun_when_the_process_is_told_to_stop_is_answered() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let (begin, rest) = HEALTH.split_at(24);
    let mut fresh = connect(&salon.guest).await;
    fresh.write_all(begin).await.unwrap();
    let mut kept = connect(&salon.guest).await;
    assert_eq!(exchange(&mut kept, HEALTH).await.status, 200);
    kept.write_all(begin).await.unwrap();
    let mut booking = connect(&salon.guest).await;
    let body = salon.booking(0, start_in(60)).to_string();
    let (half, other_half) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /api/v1/public/book HTTP/1.1\r\nHost: x\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{half}",
        body.len()
    );
    booking.write_all(head.as_bytes()).await.unwrap();

    process.signal("-TERM");
    eventually("answers say that connections end", async || {
        match process.client().get("/healthz").await {
            Ok(response) => {
                let said = response.headers().get("connection");
                said.is_some_and(|said| said == "close").then_some(())
            }
            Err(error) => error.is_connect().then_some(()),
        }
    })
    .await;
    for stream in [&mut fresh, &mut kept] {
        let answer = exchange(stream, rest).await;
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    }
    let booked = exchange(&mut booking, other_half.as_bytes()).await;
    assert_eq!(booked.header("connection"), "close");
    booked.expect(201);
    assert!(process.terminate().await, "it ends well");
    stand.addresses.assert_healthy();
}

/// What clients met while the process was stopped and started under them.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
    /// Not sent, since there was no connection.
    refused: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// Sends a request and reads the whole answer.
async fn whole(request: RequestBuilder) -> Result<u16, reqwest::Error> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

/// Reads a page again and again, or books when there is something to book.
async fn keep_asking(client: Client, path: String, bookings: Vec<Value>, load: Arc<Load>) {
    let mut bookings = bookings.iter().cycle();
    while !load.over.load(Ordering::Relaxed) {
        let request = match bookings.next() {
            Some(body) => client.request(Method::POST, "/api/v1/public/book").json(body),
            None => client.request(Method::GET, &path),
        };
        let failed = match whole(request).await {
            Ok(200 | 201 | 409) => {
                load.answered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(error) if error.is_connect() => {
                load.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            Ok(status) => format!("answered {status}"),
            Err(error) => format!("{error:?}"),
        };
        load.failed.lock().unwrap().push(failed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_requests_under_which_the_process_is_stopped_twenty_times_none_fails() {
    let stand = Stand::new().await;
    let mut process = stand.serve().await;
    let salon = Salon::open(&process.client(), 1).await;
    let path = format!("/api/v1/public/businesses/{}", salon.handle);
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for n in 0..3 {
        // Each with connections of its own, of which some rest while others are in use.
        let client = process.client();
        let bookings = (0..100).map(|slot| {
            let start = start_in(60) + SignedDuration::from_mins(500 * n + 5 * slot);
            salon.booking(0, start)
        });
        for bookings in [bookings.collect(), vec![], vec![], vec![]] {
            clients.spawn(keep_asking(client.clone(), path.clone(), bookings, load.clone()));
        }
    }
    for round in 0..20 {
        let so_far = load.answered.load(Ordering::Relaxed);
        eventually("requests are answered", async || {
            (load.answered.load(Ordering::Relaxed) >= so_far + 200).then_some(())
        })
        .await;
        assert!(process.terminate().await, "round {round}: it ends well");
        process.start_again().await;
    }
    load.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let failed = load.failed.lock().unwrap().clone();
    let (answered, refused) = (&load.answered, &load.refused);
    assert!(
        failed.is_empty(),
        "{} failed, {answered:?} answered, {refused:?} refused: {failed:#?}",
        failed.len()
    );
    stand.addresses.assert_healthy();
}
