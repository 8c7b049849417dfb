//! Drives the service over sockets of this machine.

use service::{Board, serve};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A service on a thread of its own, with a runtime of two.
fn start() -> (Board, SocketAddr, std::thread::JoinHandle<()>) {
    let board = Board::default();
    let own = board.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            serve(listener, own).await.unwrap();
        });
    });
    (board, receiver.recv().unwrap(), thread)
}

/// A request, and where its answer comes.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    BufReader::new(stream)
}

/// The status of an answer, and its text.
fn answer(mut stream: BufReader<TcpStream>) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The next event of a stream.
fn event(stream: &mut BufReader<TcpStream>) -> Option<String> {
    stream
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("data: ")?.to_owned()))
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn long_polls_events_metrics_and_a_graceful_stop() {
    let (board, address, service) = start();
    let mut events = ask(address, "GET", "/events", "");
    assert_eq!(event(&mut events).as_deref(), Some("0"));
    // Many wait for one notice, and all are told.
    let polls: Vec<_> = (0..200).map(|_| ask(address, "GET", "/notices", "")).collect();
    wait_until(|| board.waiting() == 200);
    assert_eq!(answer(ask(address, "POST", "/notices", "hello")), (200, "1\n".into()));
    for poll in polls {
        assert_eq!(answer(poll), (200, "hello\n".into()));
    }
    assert_eq!(event(&mut events).as_deref(), Some("1"));
    // One that asks for what is there is told at once; one for which nothing comes, that there is nothing.
    assert_eq!(answer(ask(address, "GET", "/notices?after=0", "")).1, "hello\n");
    assert_eq!(answer(ask(address, "GET", "/notices?after=1&wait=5", "")).0, 204);
    // A client that goes does not count as waiting any more.
    let gone = ask(address, "GET", "/notices?after=1", "");
    wait_until(|| board.waiting() == 1);
    drop(gone);
    wait_until(|| board.waiting() == 0);
    let (status, metrics) = answer(ask(address, "GET", "/metrics", ""));
    assert_eq!(status, 200);
    // In the format of Prometheus: each metric has a text, a type, and a value.
    assert!(metrics.contains("# HELP board_waiting Requests that wait"), "{metrics}");
    assert!(metrics.contains("\nboard_waiting 0\n"), "{metrics}");
    assert!(metrics.contains("# TYPE contempo_commits_total counter\n"), "{metrics}");
    let commits = metrics.lines().find_map(|line| line.strip_prefix("contempo_commits_total "));
    assert!(commits.is_some_and(|count| count.parse::<u64>().is_ok_and(|n| n > 200)), "{metrics}");
    // The end: what waits is told so, streams end, and the service returns.
    let last = ask(address, "GET", "/notices?after=1", "");
    wait_until(|| board.waiting() == 1);
    assert_eq!(answer(ask(address, "POST", "/stop", "")).0, 200);
    assert_eq!(answer(last).0, 503);
    assert_eq!(event(&mut events), None);
    service.join().unwrap();
}
