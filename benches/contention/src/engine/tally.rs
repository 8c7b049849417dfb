//! What one thread did in one window of time.

use hdrhistogram::Histogram;
use std::time::Duration;

/// An empty histogram of nanoseconds, with two significant digits. It grows as needed.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(2).expect("two digits are possible")
}

/// Operations of one kind by one thread in one window.
pub(crate) struct KindTally {
    /// Operations that finished.
    pub(crate) operations: u64,
    /// Runs of their closure (or looks at a condition), aborted ones included.
    pub(crate) attempts: u64,
    /// Time spent in them.
    pub(crate) busy: Duration,
    /// The longest of them, or an upper bound on it if it was one of a batch.
    pub(crate) worst: Duration,
    /// Latencies of those that were timed one by one.
    pub(crate) latency: Histogram<u64>,
}

impl KindTally {
    fn new() -> Self {
        KindTally {
            operations: 0,
            attempts: 0,
            busy: Duration::ZERO,
            worst: Duration::ZERO,
            latency: histogram(),
        }
    }

    /// One operation, timed.
    #[inline]
    pub(crate) fn timed(&mut self, taken: Duration, attempts: u64) {
        self.batch(1, taken, attempts);
        self.latency.record(taken.as_nanos() as u64).expect("it grows as needed");
    }

    /// Some operations that were timed together.
    #[inline]
    pub(crate) fn batch(&mut self, operations: u64, taken: Duration, attempts: u64) {
        self.operations += operations;
        self.attempts += attempts;
        self.busy += taken;
        self.worst = self.worst.max(taken);
    }

    fn clear(&mut self) {
        (self.operations, self.attempts) = (0, 0);
        (self.busy, self.worst) = (Duration::ZERO, Duration::ZERO);
        self.latency.reset();
    }
}

/// What one thread did in one window, by kind of operation.
pub(crate) struct Tally(pub(crate) Vec<KindTally>);

impl Tally {
    /// Nothing done yet, of so many kinds.
    pub(crate) fn new(kinds: usize) -> Self {
        Tally((0..kinds).map(|_| KindTally::new()).collect())
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(KindTally::clear);
    }
}
