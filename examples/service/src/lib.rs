//! A notice board: what is posted is told to all that wait for it.
//!
//! | | |
//! | --- | --- |
//! | `POST /notices` | puts the text of the request on the board; answers its number |
//! | `GET /notices?after=N&wait=MS` | a **long poll**: the notices after number N, once there are any; 204 if there is none for so long |
//! | `GET /events` | **server-sent events**: the number of notices, now and after each change |
//! | `GET /metrics` | what the transactions of this process have done, as text for Prometheus |
//! | `POST /stop` | a **graceful stop**: one cell is written, which everything that waits reads |
//!
//! All state is in cells, and each request is a transaction; no handler locks, polls or sleeps. A request that waits is a
//! task that holds no thread.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use contempo::{TVar, Transaction, atomically_async, statistics};
use futures_util::stream::{Stream, StreamExt};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The name of a metric.
const WAITING: &str = "board_waiting";

/// The state of the service: handles on cells, so a copy is the same board.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The notices, oldest first. A reader keeps the list that it has seen; a writer makes another.
    notices: TVar<Arc<Vec<Arc<str>>>>,
    /// How many requests wait.
    waiting: TVar<u64>,
    /// Is the service to stop?
    stop: TVar<bool>,
}

impl Board {
    /// Tells the service to stop. What waits ends; requests that are under way are answered.
    pub fn stop(&self) {
        self.stop.store(true);
    }

    /// How many requests wait for a notice.
    pub fn waiting(&self) -> u64 {
        self.waiting.load()
    }

    /// Waits until the service is told to stop.
    async fn stopped(self) {
        atomically_async(|tx| tx.check(*tx.read(&self.stop)?)).await;
    }
}

/// Serves the board until it is told to stop.
///
/// # Errors
/// What the listener fails with.
pub async fn serve(listener: TcpListener, board: Board) -> std::io::Result<()> {
    let router = Router::new()
        .route("/notices", get(read).post(put))
        .route("/events", get(events))
        .route("/metrics", get(metrics).with_state((board.clone(), Arc::new(recorder()))))
        .route("/stop", post(stop))
        .with_state(board.clone());
    axum::serve(listener, router).with_graceful_shutdown(board.stopped()).await
}

async fn put(State(board): State<Board>, text: String) -> String {
    let number = atomically_async(|tx| {
        let mut notices = Vec::clone(tx.read(&board.notices)?);
        notices.push(text.as_str().into());
        let number = notices.len();
        tx.write(&board.notices, notices.into())?;
        Ok(number)
    });
    format!("{}\n", number.await)
}

/// What a long poll asks for.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    after: usize,
    #[serde(default = "Wanted::half_a_minute")]
    wait: u64,
}

impl Wanted {
    fn half_a_minute() -> u64 {
        30_000
    }
}

/// Counts a request as waiting, until it is dropped: when it is answered, or its client has gone.
struct Waits<'b>(&'b TVar<u64>);

impl<'b> Waits<'b> {
    fn new(waiting: &'b TVar<u64>) -> Self {
        waiting.update(|n| n + 1);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.update(|n| n - 1);
    }
}

async fn read(State(board): State<Board>, Query(wanted): Query<Wanted>) -> Response {
    let _waits = Waits::new(&board.waiting);
    // Whichever comes first: notices, or the end. Both are read at one moment.
    let news = |tx: &Transaction<'_>| {
        let notices = tx.read(&board.notices)?;
        if notices.len() > wanted.after {
            return Ok(Some(Arc::clone(notices)));
        }
        tx.check(*tx.read(&board.stop)?)?;
        Ok(None)
    };
    let bounds = Transaction::builder().timeout(Duration::from_millis(wanted.wait));
    match bounds.run_async(news).await {
        Ok(Some(notices)) => {
            let text = notices[wanted.after..]
                .iter()
                .fold(String::new(), |text, notice| text + notice + "\n");
            text.into_response()
        }
        Ok(None) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(_) => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn events(State(board): State<Board>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let counts =
        board.notices.changes().map(|notices| Ok(Event::default().data(notices.len().to_string())));
    Sse::new(counts.take_until(board.stopped())).keep_alive(KeepAlive::default())
}

/// What Prometheus reads: the counts of contempo, and one of the board's own.
async fn metrics(State((board, recorder)): State<(Board, Arc<PrometheusRecorder>)>) -> String {
    metrics::with_local_recorder(&*recorder, || {
        contempo::metrics::record(&statistics());
        metrics::gauge!(WAITING).set(board.waiting() as f64);
    });
    recorder.handle().render()
}

/// A recorder that knows what the metrics mean.
fn recorder() -> PrometheusRecorder {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        contempo::metrics::describe();
        metrics::describe_gauge!(WAITING, "Requests that wait for a notice.");
    });
    recorder
}

async fn stop(State(board): State<Board>) {
    board.stop();
}
