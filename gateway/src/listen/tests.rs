use super::{progress::State, *};

fn limits() -> Limits {
    Limits {
        listener: "test",
        connections: 1,
        per_address: 0,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        awake: Duration::from_secs(1),
        header_bytes: LEAST_BUFFER,
        headers: HEADERS_ON_THE_STACK,
        linger: Duration::from_secs(1),
    }
}

/// Seconds from `start` to the deadline.
fn ends(phase: Phase, start: Instant, stopped: Option<Instant>) -> Option<u64> {
    let deadline = State { phase, stalled: None }.deadline(&limits(), stopped)?;
    Some(deadline.duration_since(start).as_secs())
}

#[test]
fn a_connection_rests_longer_than_a_head_may_take() {
    let start = Instant::now();
    assert_eq!(ends(Phase::Silent(start), start, None), Some(10));
    assert_eq!(ends(Phase::Head(start), start, None), Some(10));
    assert_eq!(ends(Phase::Answering, start, None), None);
    assert_eq!(ends(Phase::Resting(start), start, None), Some(75));
}

#[test]
fn once_told_to_stop_only_those_end_soon_who_say_nothing() {
    let start = Instant::now();
    let told = start + Duration::from_secs(5);
    let after = start + Duration::from_secs(6);
    assert_eq!(ends(Phase::Silent(start), start, Some(told)), Some(6));
    assert_eq!(ends(Phase::Silent(after), start, Some(told)), Some(7));
    assert_eq!(ends(Phase::Head(start), start, Some(told)), Some(10));
    assert_eq!(ends(Phase::Answering, start, Some(told)), None);
    assert_eq!(ends(Phase::Resting(start), start, Some(told)), Some(6));
    assert_eq!(ends(Phase::Resting(after), start, Some(told)), Some(7));
}

#[test]
fn an_answer_that_nobody_takes_is_not_a_rest() {
    let start = Instant::now();
    let state = State { phase: Phase::Resting(start), stalled: Some(start) };
    assert!(!state.is_resting());
    let deadline = state.deadline(&limits(), Some(start));
    assert_eq!(deadline, Some(start + Duration::from_secs(75)));
}

#[test]
fn a_rest_ends_with_the_first_byte_of_the_next_head() {
    let progress = Progress::new();
    assert!(matches!(progress.state().phase, Phase::Silent(_)));
    progress.heard();
    assert!(matches!(progress.state().phase, Phase::Head(_)));
    assert_eq!(progress.state().ending(), Ending::Late);
    progress.enter(Phase::Answering);
    progress.heard();
    assert_eq!(progress.state().phase, Phase::Answering);
    progress.enter(Phase::Resting(Instant::now()));
    assert!(progress.state().is_resting());
    assert_eq!(progress.state().ending(), Ending::Quiet);
    progress.heard();
    assert!(matches!(progress.state().phase, Phase::Head(_)));
}

#[test]
fn an_ipv6_network_and_an_ipv4_address_count_as_one_guest() {
    let of = |text: &str| network(text.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}

/// Reads one answer.
async fn answer(client: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\nok") {
        assert_ne!(client.read_buf(&mut read).await.unwrap(), 0, "the connection ended");
    }
    String::from_utf8(read).unwrap()
}

/// At an address where everybody who rests falls asleep at once.
async fn sleepy(stop: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { connections: 100, awake: Duration::ZERO, ..limits() };
    let router = Router::new().route("/{n}", axum::routing::get(|| async { "ok" }));
    tokio::spawn(listen(listener, router, limits, stop.clone(), Duration::from_secs(10)));
    address
}

#[tokio::test]
async fn who_has_fallen_asleep_is_woken_by_the_next_request() {
    let stop = CancellationToken::new();
    let mut client = TcpStream::connect(sleepy(&stop).await).await.unwrap();
    for n in 0..20 {
        let request = format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }
    stop.cancel();
}

#[tokio::test]
async fn what_came_of_a_head_before_the_rest_is_not_lost_in_sleep() {
    let stop = CancellationToken::new();
    let mut client = TcpStream::connect(sleepy(&stop).await).await.unwrap();
    client.write_all(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HT").await.unwrap();
    answer(&mut client).await;
    client.write_all(b"TP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    stop.cancel();
}

#[tokio::test]
async fn who_sleeps_is_answered_once_more_while_the_process_stops() {
    let stop = CancellationToken::new();
    let mut client = TcpStream::connect(sleepy(&stop).await).await.unwrap();
    client.write_all(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    answer(&mut client).await;
    stop.cancel();
    client.write_all(b"GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(answer(&mut client).await.contains("connection: close"));
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}
