//! What the feature `tracing` tells: a span for each transaction that did not commit at once, and nothing of others.

use contempo::{TVar, Transaction, atomically};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// Keeps spans and events up to a level.
#[derive(Clone)]
struct Keeps {
    most: Level,
    next: Arc<AtomicU64>,
    spans: Arc<Mutex<BTreeMap<u64, Fields>>>,
    events: Arc<Mutex<Vec<(Level, Fields)>>>,
}

struct Into<'f>(&'f mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Keeps {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "contempo" && *metadata.level() <= self.most
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let (id, mut fields) = (self.next.fetch_add(1, Ordering::Relaxed), Fields::new());
        attributes.record(&mut Into(&mut fields));
        self.spans.lock().unwrap().insert(id, fields);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        values.record(&mut Into(spans.get_mut(&span.into_u64()).expect("a span of ours")));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        self.events.lock().unwrap().push((*event.metadata().level(), fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is told up to this level, of one transaction that is not to be told of, and of one that fails so often.
fn told(most: Level, failures: u64) -> (Vec<Fields>, Vec<(Level, Fields)>) {
    let next = Arc::new(AtomicU64::new(1));
    let keeps = Keeps { most, next, spans: Arc::default(), events: Arc::default() };
    tracing::subscriber::with_default(keeps.clone(), || {
        let till = TVar::named("till", 0);
        atomically(|tx| tx.write(&till, 1));
        let mut failed = 0;
        let paid = Transaction::builder().label("pay").run(|tx| {
            let seen = *tx.read(&till)?;
            if failed < failures {
                failed += 1;
                thread::scope(|scope| {
                    scope.spawn(|| till.store(seen + 1)).join().expect("it stores");
                });
            }
            tx.write(&till, 0)
        });
        assert_eq!(paid, Ok(()));
    });
    let spans = std::mem::take(&mut *keeps.spans.lock().unwrap());
    let events = std::mem::take(&mut *keeps.events.lock().unwrap());
    (spans.into_values().collect(), events)
}

#[test]
fn a_transaction_that_fails_is_a_span_with_its_label_attempts_and_time() {
    let (spans, events) = told(Level::DEBUG, 2);
    let [span] = &spans[..] else { panic!("one span: {spans:?}") };
    let field = |name| span.get(name).map(String::as_str);
    assert_eq!((field("label"), field("attempts")), (Some("\"pay\""), Some("3")));
    assert_eq!(field("committed"), Some("true"));
    assert_eq!((field("cause"), field("cell")), (Some("Changed"), Some("\"till\"")));
    assert!(field("microseconds").is_some_and(|time| time.parse::<u64>().is_ok()), "{span:?}");
    assert!(events.is_empty(), "at this level nothing is told of single attempts: {events:?}");
}

#[test]
fn each_failed_attempt_is_told_with_cause_and_cell_at_the_lowest_level_alone() {
    let (spans, events) = told(Level::TRACE, 2);
    assert_eq!(spans.len(), 1);
    let failed: Vec<_> = events.iter().filter(|(_, fields)| fields.contains_key("cause")).collect();
    assert_eq!(failed.len(), 2, "{events:?}");
    for (level, fields) in failed {
        assert_eq!((*level, fields["cell"].as_str()), (Level::TRACE, "\"till\""), "{fields:?}");
    }
    assert_eq!(events.len(), 3, "and the commit: {events:?}");
}

#[test]
fn what_fails_often_is_warned_of_and_that_does_not_flood() {
    // (By turns it would go first long before.)
    let before = contempo::settings();
    let mut settings = before;
    settings.policy = contempo::Policy::Timid;
    contempo::configure(settings).expect("in range");
    let (spans, events) = told(Level::INFO, 120);
    contempo::configure(before).expect("in range");
    assert!(spans.is_empty(), "{spans:?}");
    let [(level, fields)] = &events[..] else { panic!("one event: {events:?}") };
    assert_eq!((*level, fields["attempts"].as_str()), (Level::WARN, "100"));
}
