//! The tallies of all threads in one trial, made into figures.

use super::tally::{Tally, histogram};
use super::trial::{Trial, Window};
use contempo::Statistics;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One kind of operation in one window, over all threads.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The kind, and the window if it has a name.
    pub(crate) name: String,
    /// Operations that finished.
    pub(crate) operations: u64,
    /// How long the window was.
    pub(crate) seconds: f64,
    /// Seconds that threads spent in them, added up.
    pub(crate) busy: f64,
    /// Runs of their closure.
    pub(crate) attempts: u64,
    /// Seconds of processor time that the whole process had meanwhile; none where it is not known.
    pub(crate) processor: Option<f64>,
    /// The slowest thread's operations as a part of the fastest one's.
    /// None where it tells nothing.
    pub(crate) fairness: Option<f64>,
    /// The longest operation, in nanoseconds.
    pub(crate) worst_ns: f64,
    /// How long those operations took that were timed one by one.
    #[serde(with = "recorded")]
    pub(crate) latency: Histogram<u64>,
}

/// A histogram as the values that were recorded and their counts.
mod recorded {
    use super::{Histogram, histogram};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        histogram: &Histogram<u64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let counts = histogram.iter_recorded();
        to.collect_seq(counts.map(|step| (step.value_iterated_to(), step.count_at_value())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let mut all = histogram();
        for (value, count) in Vec::<(u64, u64)>::deserialize(from)? {
            all.record_n(value, count).expect("it grows as needed");
        }
        Ok(all)
    }
}

impl Part {
    /// Operations per second, all threads together.
    pub(crate) fn rate(&self) -> f64 {
        ratio(self.operations as f64, self.seconds)
    }

    /// Operations per second that a thread spent in them.
    pub(crate) fn busy_rate(&self) -> f64 {
        ratio(self.operations as f64, self.busy)
    }

    /// How many cores the process had, on average.
    pub(crate) fn cores(&self) -> Option<f64> {
        self.processor.map(|seconds| ratio(seconds, self.seconds))
    }

    /// Runs of the closure per operation; 0 for contenders that never repeat anything; none if there
    /// was no operation.
    pub(crate) fn attempts(&self) -> Option<f64> {
        (self.operations > 0).then(|| self.attempts as f64 / self.operations as f64)
    }

    /// The 99th percentile of latency, in nanoseconds; none if no operation was timed alone.
    pub(crate) fn p99(&self) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(0.99) as f64)
    }
}

fn ratio(one: f64, other: f64) -> f64 {
    if other > 0.0 { one / other } else { 0.0 }
}

/// One trial, or several that were one after the other.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Kinds of operations, window by window.
    pub(crate) parts: Vec<Part>,
    /// What contempo counted meanwhile, by name, warm-up included.
    pub(crate) counters: BTreeMap<String, u64>,
    /// Figures that are not about operations, by name.
    pub(crate) figures: Vec<(String, f64)>,
}

impl Sample {
    /// Adds up what the threads did.
    pub(crate) fn of(
        trial: &dyn Trial,
        windows: &[Window],
        tallies: &[Vec<Tally>],
        statistics: &Statistics,
    ) -> Self {
        let mut parts = Vec::new();
        for (window, name) in trial.windows().iter().enumerate() {
            for (kind, kind_name) in trial.kinds().iter().enumerate() {
                if !(0..tallies.len()).any(|seat| trial.does(seat, kind)) {
                    continue;
                }
                let name = format!("{kind_name} {name}").trim_end().to_owned();
                let threads =
                    tallies.iter().enumerate().filter(|(seat, _)| trial.does(*seat, kind));
                let of_kind = threads.map(|(_, thread)| &thread[window].0[kind]);
                let mut part = part(name, windows[window], of_kind);
                part.fairness = part.fairness.filter(|_| !trial.shares_work());
                parts.push(part);
            }
        }
        let counters = named(statistics).map(|(name, count)| (name.to_owned(), count)).into();
        let mut figures = trial.figures();
        // A trial that is ended early may have divided by nothing.
        figures.retain(|(_, figure)| figure.is_finite());
        Sample { parts, counters, figures }
    }

    /// What an external contender told.
    pub(crate) fn external(parts: Vec<Part>) -> Self {
        Sample { parts, counters: BTreeMap::new(), figures: Vec::new() }
    }

    /// Adds another trial of the same case, which came after this one.
    pub(crate) fn and(mut self, other: &Sample) -> Self {
        for (one, other) in self.parts.iter_mut().zip(&other.parts) {
            let (before, after) = (one.seconds, other.seconds);
            one.fairness = one
                .fairness
                .zip(other.fairness)
                .map(|(one, other)| (one * before + other * after) / (before + after));
            one.operations += other.operations;
            one.seconds += other.seconds;
            one.busy += other.busy;
            one.attempts += other.attempts;
            one.processor = one.processor.zip(other.processor).map(|(one, other)| one + other);
            one.worst_ns = one.worst_ns.max(other.worst_ns);
            one.latency.add(&other.latency).expect("it grows as needed");
        }
        for ((_, one), (_, other)) in self.figures.iter_mut().zip(&other.figures) {
            *one = one.max(*other);
        }
        for (name, count) in &other.counters {
            *self.counters.entry(name.clone()).or_default() += count;
        }
        self
    }

    /// How long the windows lasted, all together.
    pub(crate) fn lasted(&self) -> Duration {
        let seconds = self.parts.iter().map(|part| part.seconds).fold(0.0, f64::max);
        Duration::from_secs_f64(seconds)
    }
}

fn part<'a>(
    name: String,
    window: Window,
    threads: impl Iterator<Item = &'a super::tally::KindTally>,
) -> Part {
    let mut latency = histogram();
    let (mut operations, mut attempts) = (0, 0);
    let (mut busy, mut worst) = (Duration::ZERO, Duration::ZERO);
    let (mut slowest, mut fastest) = (u64::MAX, 0);
    for tally in threads {
        operations += tally.operations;
        attempts += tally.attempts;
        busy += tally.busy;
        worst = worst.max(tally.worst);
        slowest = slowest.min(tally.operations);
        fastest = fastest.max(tally.operations);
        latency.add(&tally.latency).expect("it grows as needed");
    }
    Part {
        name,
        operations,
        seconds: window.lasted.as_secs_f64(),
        busy: busy.as_secs_f64(),
        attempts: window.attempts.unwrap_or(attempts),
        processor: window.processor.map(|time| time.as_secs_f64()),
        fairness: (fastest > 0).then(|| slowest as f64 / fastest as f64),
        worst_ns: worst.as_nanos() as f64,
        latency,
    }
}

/// contempo's counters, by name.
fn named(statistics: &Statistics) -> [(&'static str, u64); 24] {
    [
        ("commits", statistics.commits),
        ("read_only", statistics.read_only),
        ("aborts_claimed", statistics.aborts_claimed),
        ("aborts_reserved", statistics.aborts_reserved),
        ("aborts_changed", statistics.aborts_changed),
        ("aborts_preempted", statistics.aborts_preempted),
        ("retries", statistics.retries),
        ("aborts_user", statistics.aborts_user),
        ("waits", statistics.waits),
        ("wakes", statistics.wakes),
        ("wakes_in_vain", statistics.wakes_in_vain),
        ("nudges", statistics.nudges),
        ("bumps", statistics.bumps),
        ("takeovers", statistics.takeovers),
        ("queued", statistics.queued),
        ("pressed", statistics.escalated),
        ("passed", statistics.passed),
        ("called", statistics.called),
        ("revoked", statistics.revoked),
        ("extensions", statistics.extensions),
        ("retired", statistics.retired),
        ("reclaimed", statistics.reclaimed),
        ("yields", statistics.yields),
        ("barriers", statistics.barriers),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_comes_back_as_it_went() {
        let mut latency = histogram();
        latency.record_n(1_000, 3).expect("it grows as needed");
        latency.record(2_000_000).expect("it grows as needed");
        let part = Part {
            name: "read".into(),
            operations: 4,
            seconds: 0.5,
            busy: 0.25,
            attempts: 5,
            processor: Some(0.75),
            fairness: None,
            worst_ns: 2e6,
            latency,
        };
        let counters = [("commits".to_owned(), 4)].into();
        let sample = Sample { parts: vec![part], counters, figures: vec![("MiB".into(), 1.5)] };
        let text = serde_json::to_string(&sample).expect("it is plain");
        let back: Sample = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(back.parts[0].latency, sample.parts[0].latency);
        assert_eq!((back.parts[0].rate(), back.parts[0].cores()), (8.0, Some(1.5)));
        assert_eq!(back.counters, sample.counters);
        assert_eq!(back.figures, sample.figures);
    }
}
