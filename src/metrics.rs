//! What is counted, for the facade [`metrics`](https://docs.rs/metrics): behind the feature of that name.
//!
//! Nothing happens by itself: a program calls [`record`] when its metrics are asked for, or now and then. Each count is a
//! counter `contempo_…_total` with the text that [`Statistics`] has for it; what waits to be freed is a gauge.
//!
//! ```
//! use contempo::{TVar, metrics};
//! metrics::describe(); // once, when the recorder is there
//! TVar::new(1).store(2);
//! metrics::record(&contempo::statistics()); // as often as they are asked for
//! ```
//!
//! For a region: `metrics::record_as("region", &shared.statistics())`.

use contempo_core::Statistics;

const IN_PROCESS: &str = "contempo";
/// Versions and cells that cannot be freed yet.
const HELD: &str = "versions_held";

/// Tells the recorder what each metric is. To be called once, when the recorder is installed.
///
/// ```
/// contempo::metrics::describe();
/// ```
pub fn describe() {
    describe_as(IN_PROCESS);
}

/// As [`describe`], for metrics whose names begin with `prefix`.
///
/// ```
/// contempo::metrics::describe_as("region");
/// ```
pub fn describe_as(prefix: &str) {
    for (name, _, help) in Statistics::default().entries() {
        ::metrics::describe_counter!(format!("{prefix}_{name}_total"), help);
    }
    let help = "Versions and cells that wait for their contemporaries to finish.";
    ::metrics::describe_gauge!(format!("{prefix}_{HELD}"), help);
}

/// Gives the recorder what `statistics` has counted. Linear in the number of counts, with an allocation for each.
///
/// ```
/// contempo::metrics::record(&contempo::statistics());
/// ```
pub fn record(statistics: &Statistics) {
    record_as(IN_PROCESS, statistics);
}

/// As [`record`], for metrics whose names begin with `prefix`.
///
/// ```
/// contempo::metrics::record_as("region", &contempo::Statistics::default());
/// ```
pub fn record_as(prefix: &str, statistics: &Statistics) {
    for (name, value, _) in statistics.entries() {
        ::metrics::counter!(format!("{prefix}_{name}_total")).absolute(value);
    }
    ::metrics::gauge!(format!("{prefix}_{HELD}")).set(statistics.held() as f64);
}
