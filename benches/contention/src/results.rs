//! What was measured, by case and round.

use crate::engine::sample::Sample;
use crate::plan::Case;
use crate::stats::Quartiles;

/// One case and its samples, a round each.
pub(crate) struct Series {
    pub(crate) case: Case,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    /// How many kinds of operations and windows there are.
    pub(crate) fn parts(&self) -> usize {
        self.samples.first().map_or(0, |sample| sample.parts.len())
    }

    /// The quartiles over all rounds of some figure of a part.
    pub(crate) fn quartiles(
        &self,
        part: usize,
        figure: impl Fn(&crate::engine::sample::Part) -> f64,
    ) -> Option<Quartiles> {
        Quartiles::of(self.samples.iter().map(|sample| figure(&sample.parts[part])))
    }
}
