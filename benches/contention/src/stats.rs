//! Medians and their spread.

use serde::{Deserialize, Serialize};

/// The middle of some measurements, and how far they are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quartiles {
    /// A quarter is at or below.
    pub(crate) low: f64,
    /// Half is at or below.
    pub(crate) median: f64,
    /// Three quarters are at or below.
    pub(crate) high: f64,
}

impl Quartiles {
    /// Of all these numbers; none if there are no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        // Between two neighbours, the mean by distance: with few rounds the nearest would jump.
        let at = |part: f64| {
            let place = part * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Quartiles { low: at(0.25), median: at(0.5), high: at(0.75) })
    }

    /// The distance of the quartiles as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / self.median }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let quartiles = Quartiles::of([4.0, 1.0, 3.0, 2.0]).expect("four numbers");
        assert_eq!(quartiles, Quartiles { low: 1.75, median: 2.5, high: 3.25 });
        assert_eq!(quartiles.spread(), 0.6);
    }

    #[test]
    fn no_numbers_have_no_median() {
        assert_eq!(Quartiles::of([]), None);
        assert_eq!(Quartiles::of([7.0]).map(|it| it.median), Some(7.0));
    }
}
