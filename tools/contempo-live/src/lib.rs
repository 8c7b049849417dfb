#![doc = include_str!("../README.md")]

mod page;
pub mod view;

use contempo::Activity;
use page::Answer;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use view::Looks;

/// Cells that the page shows.
const CELLS: usize = 25;
/// The program is looked at so often at most, however many ask.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// One that asks is to be done with that in this time: requests are answered one after the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// A page that is served until this is dropped.
#[derive(Debug)]
#[must_use = "the page is served until this is dropped"]
pub struct Live {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

/// Serves a page about the cells of this process.
///
/// # Errors
/// If the address is not one of loopback ([`ErrorKind::InvalidInput`]: what a program does is not for others), or cannot
/// be had.
///
/// ```
/// let live = contempo_live::serve("127.0.0.1:0")?;
/// assert!(live.address().ip().is_loopback());
/// assert!(contempo_live::serve("0.0.0.0:0").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn serve(address: impl ToSocketAddrs) -> io::Result<Live> {
    serve_of(address, "this process", || contempo::activity(CELLS))
}

/// Serves a page about what `look` sees, and calls it by this name: for a region `shared.activity(25)`, of a clone of the
/// handle. `look` is called by a thread of the page's own, never by two at a time.
///
/// # Errors
/// As [`serve`].
///
/// ```
/// let live = contempo_live::serve_of("127.0.0.1:0", "ledger", || contempo::activity(5))?;
/// # drop(live);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn serve_of(
    address: impl ToSocketAddrs,
    name: &str,
    look: impl Fn() -> Activity + Send + 'static,
) -> io::Result<Live> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    if !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not an address of loopback"));
    }
    let listener = TcpListener::bind(&*addresses)?;
    let (address, over) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
    let mut server = Server { name: name.to_owned(), look, looks: Looks::new(), json: None };
    let is_over = Arc::clone(&over);
    let run = move || {
        for stream in listener.incoming() {
            // Acquire, partner: the release when the handle is dropped.
            if is_over.load(Ordering::Acquire) {
                return;
            }
            // One that goes away, or asks for nonsense, is its own affair; if there are no more sockets, it is tried again.
            match stream {
                Ok(stream) => drop(server.answer(stream)),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    };
    let server = thread::Builder::new().name("contempo-live".to_owned()).spawn(run)?;
    Ok(Live { address, over, server: Some(server) })
}

impl Live {
    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Release, partner: the acquire in the server's thread.
        self.over.store(true, Ordering::Release);
        // It looks once it has accepted something.
        let called = TcpStream::connect_timeout(&self.address, PATIENCE).is_ok();
        if let Some(server) = self.server.take().filter(|_| called) {
            // If it has panicked, it has said so.
            let _ = server.join();
        }
    }
}

/// What answers.
struct Server<F> {
    name: String,
    look: F,
    looks: Looks,
    /// What was said last, and when.
    json: Option<(Instant, String)>,
}

impl<F: Fn() -> Activity> Server<F> {
    fn answer(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let answer = match page::read(&stream, Instant::now() + PATIENCE)? {
            page::Asked::Page => Answer::page(),
            page::Asked::Numbers => Answer::json(self.json()?),
            page::Asked::Nothing(answer) => answer,
        };
        (&stream).write_all(&answer.bytes())
    }

    /// The view as JSON, of now or of a moment ago.
    fn json(&mut self) -> io::Result<String> {
        match &self.json {
            Some((at, json)) if at.elapsed() < LOOK_EVERY => Ok(json.clone()),
            _ => {
                let view = self.looks.look(&self.name, (self.look)());
                let json = serde_json::to_string(&view)?;
                self.json = Some((Instant::now(), json.clone()));
                Ok(json)
            }
        }
    }
}
