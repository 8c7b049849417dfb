//! What the feature `metrics` promises: each count reaches the recorder, by its name and with its text.

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit, with_local_recorder,
};
use contempo::{Statistics, TVar};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Keeps what it is told.
#[derive(Default)]
struct Kept {
    texts: Mutex<BTreeMap<String, String>>,
    counters: Mutex<BTreeMap<String, u64>>,
    gauges: Mutex<BTreeMap<String, f64>>,
}

struct Told(Arc<Kept>, String);

impl CounterFn for Told {
    fn increment(&self, _: u64) {
        unreachable!("counts are absolute");
    }

    fn absolute(&self, value: u64) {
        self.0.counters.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl GaugeFn for Told {
    fn increment(&self, _: f64) {
        unreachable!("it is set");
    }

    fn decrement(&self, _: f64) {
        unreachable!("it is set");
    }

    fn set(&self, value: f64) {
        self.0.gauges.lock().unwrap().insert(self.1.clone(), value);
    }
}

struct Keeps(Arc<Kept>);

impl Recorder for Keeps {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, text: SharedString) {
        self.0.texts.lock().unwrap().insert(key.as_str().to_owned(), text.to_string());
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, text: SharedString) {
        self.0.texts.lock().unwrap().insert(key.as_str().to_owned(), text.to_string());
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Told(Arc::clone(&self.0), key.name().to_owned())))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Told(Arc::clone(&self.0), key.name().to_owned())))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn each_count_reaches_the_recorder() {
    let kept = Arc::new(Kept::default());
    let cell = TVar::new(0);
    let statistics = with_local_recorder(&Keeps(Arc::clone(&kept)), || {
        contempo::metrics::describe();
        cell.store(1);
        let statistics = contempo::statistics();
        contempo::metrics::record(&statistics);
        contempo::metrics::record_as("other", &Statistics::default());
        statistics
    });
    let (texts, counters) = (kept.texts.lock().unwrap(), kept.counters.lock().unwrap());
    for (name, value, help) in statistics.entries() {
        let name = format!("contempo_{name}_total");
        assert_eq!((counters.get(&name), texts.get(&name)), (Some(&value), Some(&help.to_owned())));
    }
    assert!(counters["contempo_commits_total"] >= 1 && counters["other_commits_total"] == 0);
    let gauges = kept.gauges.lock().unwrap();
    assert_eq!(gauges["contempo_versions_held"], statistics.held() as f64);
    assert!(texts.contains_key("contempo_versions_held"));
}
