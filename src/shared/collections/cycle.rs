//! Lists that are cycles.

/// Tells a reader that follows a list of handles that it is a cycle, which no collection makes. (Brent's
/// algorithm: it keeps the handle after 1, 2, 4, 8, … steps, and so comes there again if it ever does.)
#[derive(Debug, Default)]
pub(crate) struct Cycle {
    steps: u64,
    passed: u64,
}

impl Cycle {
    /// Comes to `handle`, which is not 0. Is that known to be a cycle?
    pub(crate) fn closes_at(&mut self, handle: u64) -> bool {
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
    fn cycles_are_found_and_long_lists_are_none() {
        let mut cycle = Cycle::default();
        assert!(!(1..10_000).any(|handle| cycle.closes_at(handle)));
        for before in 0..20 {
            for length in 1..20 {
                let mut cycle = Cycle::default();
                let handles = (1..=before).chain((1..=length).cycle().map(|handle| 100 + handle));
                let steps = handles.take_while(|handle| !cycle.closes_at(*handle)).count() as u64;
                assert!(steps >= before + length && steps <= 4 * (before + length), "{steps}");
            }
        }
    }
}
