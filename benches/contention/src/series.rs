//! One case and what was measured of it, round by round.

use crate::engine::sample::{Part, Sample};
use crate::engine::tally::histogram;
use crate::engine::trial::Violation;
use crate::plan::Case;
use crate::report;
use indicatif::ProgressBar;
use std::collections::BTreeMap;

/// One case and its samples, one per round.
pub(crate) struct Series {
    case: Case,
    samples: Vec<Sample>,
    /// What it did wrong.
    pub(crate) violation: Option<String>,
}

impl Series {
    /// Nothing measured yet.
    pub(crate) fn new(case: Case) -> Self {
        Series { case, samples: Vec::new(), violation: None }
    }

    /// Adds what one round has found, and says so at once if it is a violation.
    pub(crate) fn add(&mut self, sample: Result<Sample, Violation>, bar: &ProgressBar) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(Violation(what)) => {
                bar.suspend(|| eprintln!("VIOLATION: {}: {what}", self.case));
                self.violation = Some(what);
            }
        }
    }

    /// As it goes into the report.
    pub(crate) fn report(&self) -> report::Case {
        let parts = self.samples.first().map_or(0, |sample| sample.parts.len());
        report::Case {
            workload: self.case.workload.name.to_owned(),
            threads: self.case.threads,
            contender: self.case.contender.name.to_owned(),
            violation: self.violation.clone(),
            parts: (0..parts).map(|part| self.part(part)).collect(),
            figures: self.figures(),
            counters: self.counters(),
        }
    }

    fn part(&self, part: usize) -> report::Part {
        let parts = || self.samples.iter().map(|sample| &sample.parts[part]);
        let each = |figure: fn(&Part) -> f64| parts().map(figure).collect();
        let mut all = histogram();
        parts().for_each(|part| all.add(&part.latency).expect("it grows as needed"));
        let quantile = |of: f64| all.value_at_quantile(of) as f64;
        report::Part {
            name: self.samples[0].parts[part].name.clone(),
            rate: each(Part::rate),
            busy_rate: each(Part::busy_rate),
            cores: parts().filter_map(Part::cores).collect(),
            fairness: parts().filter_map(|part| part.fairness).collect(),
            attempts: parts().filter_map(Part::attempts).collect(),
            p99: parts().filter_map(Part::p99).collect(),
            worst: each(|part| part.worst_ns),
            latency: report::Latency {
                timed: all.len(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                worst: parts().map(|part| part.worst_ns).fold(0.0, f64::max),
            },
        }
    }

    fn figures(&self) -> BTreeMap<String, Vec<f64>> {
        let mut figures = BTreeMap::<String, Vec<f64>>::new();
        for (name, value) in self.samples.iter().flat_map(|sample| &sample.figures) {
            figures.entry(name.clone()).or_default().push(*value);
        }
        figures
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = BTreeMap::new();
        if self.case.contender.is_contempo() {
            for sample in &self.samples {
                for (name, count) in &sample.counters {
                    *counters.entry(name.clone()).or_default() += count;
                }
            }
        }
        counters
    }
}
