//! The counts of a program as a page that Prometheus reads, by the standard library alone.
//!
//! `cargo run --example prometheus` asks its own page once, prints it and ends; with `-- --serve` it goes on serving
//! `http://127.0.0.1:9464/metrics`.

use contempo::{Statistics, TVar, atomically};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// The text format of Prometheus.
fn page(statistics: &Statistics) -> String {
    let mut page = String::new();
    for (name, value, help) in statistics.entries() {
        page += &format!("# HELP contempo_{name}_total {help}\n");
        page += &format!("# TYPE contempo_{name}_total counter\n");
        page += &format!("contempo_{name}_total {value}\n");
    }
    page + &format!(
        "# TYPE contempo_versions_held gauge\ncontempo_versions_held {}\n",
        statistics.held()
    )
}

/// Answers one request, whatever it asks for.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let page = page(&contempo::statistics());
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    )
}

/// Something to count: two threads at one counter.
fn work() {
    let counter = TVar::new(0_u64);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    atomically(|tx| tx.modify(&counter, |n| n + 1));
                }
            });
        }
    });
    assert_eq!(counter.load(), 20_000);
}

fn main() -> io::Result<()> {
    let serve = std::env::args().any(|argument| argument == "--serve");
    let listener = TcpListener::bind(if serve { "127.0.0.1:9464" } else { "127.0.0.1:0" })?;
    work();
    if serve {
        println!("http://{}/metrics", listener.local_addr()?);
        for stream in listener.incoming() {
            answer(stream?)?;
        }
        return Ok(());
    }
    let address = listener.local_addr()?;
    let asks = thread::spawn(move || -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    });
    answer(listener.accept()?.0)?;
    let page = asks.join().expect("it does not panic")?;
    let commits = page.lines().find_map(|line| line.strip_prefix("contempo_commits_total "));
    let commits: u64 = commits.and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(commits >= 20_000, "{page}");
    println!("{page}");
    Ok(())
}
