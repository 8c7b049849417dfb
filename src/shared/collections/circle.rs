//! Lists that go in a circle.

/// Tells whoever follows a list of handles that it goes in a circle, which no collection makes. (Brent's
/// algorithm: it keeps the handle after 1, 2, 4, 8, … steps, and so comes there again if it ever does.)
#[derive(Debug, Default)]
pub(super) struct Circle {
    steps: u64,
    passed: u64,
}

impl Circle {
    /// Comes to `handle`, which is not 0. Is that known to be a circle?
    pub(super) fn closes_at(&mut self, handle: u64) -> bool {
        if handle == self.passed {
            return true;
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.passed = handle;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_long_lists_are_none() {
        let mut circle = Circle::default();
        assert!(!(1..10_000).any(|handle| circle.closes_at(handle)));
        for before in 0..20 {
            for length in 1..20 {
                let mut circle = Circle::default();
                let handles = (1..=before).chain((1..=length).cycle().map(|handle| 100 + handle));
                let steps = handles.take_while(|handle| !circle.closes_at(*handle)).count() as u64;
                assert!(steps >= before + length && steps <= 4 * (before + length), "{steps}");
            }
        }
    }
}
