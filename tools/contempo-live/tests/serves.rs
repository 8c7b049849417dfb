//! The page, and the numbers behind it, as a browser and a program get them.

use contempo::{TVar, Transaction};
use contempo_live::{Live, serve, serve_of};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

fn get(live: &Live, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(live.address()).expect("it is served");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(length.and_then(|length| length.parse().ok()), Some(body.len()), "{head}");
    (head.to_owned(), body.to_owned())
}

fn numbers(live: &Live) -> Value {
    let (head, body) = get(live, "/live.json");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
    serde_json::from_str(&body).expect("it is JSON")
}

#[test]
fn the_page_and_its_numbers() {
    let live = serve("localhost:0").expect("loopback can be had");
    let (head, page) = get(&live, "/");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/html"), "{head}");
    assert!(page.contains("live.json") && page.contains("Hottest cells"), "{page}");
    assert!(get(&live, "/nothing").0.starts_with("HTTP/1.1 404"));
    // A thread that sleeps, a task that waits, and a cell where a transaction has lost.
    let (gate, hot) = (TVar::named("gate", false), TVar::named("hot", 0));
    /// If an assertion fails, too, the thread is let go that sleeps for this.
    struct Opens<'g>(&'g TVar<bool>);
    impl Drop for Opens<'_> {
        fn drop(&mut self) {
            self.0.store(true);
        }
    }
    thread::scope(|scope| {
        let _opens = Opens(&gate);
        scope.spawn(|| {
            let wait = Transaction::builder().label("waits");
            wait.run(|tx| tx.check(*tx.read(&gate)?)).expect("without bounds");
        });
        let mut failed = false;
        contempo::atomically(|tx| {
            let seen = *tx.read(&hot)?;
            if !std::mem::replace(&mut failed, true) {
                thread::scope(|inner| {
                    inner.spawn(|| hot.store(seen + 1)).join().expect("it stores")
                });
            }
            tx.write(&hot, seen + 1)
        });
        let mut sleeper = None;
        // (The numbers are of a moment ago, at most.)
        for _ in 0..100 {
            let seen = numbers(&live);
            let found = seen["threads"].as_array().expect("a list").iter();
            sleeper = found.clone().find(|it| it["waits"]["label"] == "waits").cloned();
            if sleeper.is_some() {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(50));
        }
        let sleeper = sleeper.expect("it is seen asleep");
        assert_eq!(
            (&sleeper["doing"], &sleeper["waits"]["cells"][0]),
            (&"asleep".into(), &"gate".into())
        );
        assert_eq!(sleeper["waits"]["is_bounded"], false);
    });
    let seen = numbers(&live);
    assert_eq!((&seen["name"], &seen["cells"][0]["name"]), (&"this process".into(), &"hot".into()));
    assert!(seen["cells"][0]["failed"]["total"].as_u64() >= Some(1), "{seen}");
    assert!(seen["commits"]["total"].as_u64() >= Some(2), "{seen}");
    assert!(seen["causes"].as_array().is_some_and(|causes| causes.len() == 5), "{seen}");
}

#[test]
fn it_ends_when_it_is_dropped() {
    let live = serve_of("127.0.0.1:0", "mine", || contempo::activity(1)).expect("loopback");
    assert_eq!(numbers(&live)["name"], "mine");
    let address = live.address();
    drop(live);
    assert!(TcpStream::connect(address).is_err(), "it is served still");
}

#[test]
fn other_sites_and_other_machines_get_nothing() {
    assert!(serve("0.0.0.0:0").is_err(), "others could read it");
    let live = serve("127.0.0.1:0").expect("loopback can be had");
    let mut stream = TcpStream::connect(live.address()).expect("it is served");
    write!(stream, "GET /live.json HTTP/1.1\r\nHost: other.example\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // A client that says nothing holds no other up for long, and one that says too much neither.
    let silent = TcpStream::connect(live.address()).expect("it is served");
    let mut endless = TcpStream::connect(live.address()).expect("it is served");
    let _ = endless.write_all(&[b'x'; 100_000]);
    assert!(numbers(&live)["stamp"].is_u64());
    drop(silent);
}
