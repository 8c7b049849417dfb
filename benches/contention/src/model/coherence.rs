//! A simple model of coherent caches: which lines have to move?
//!
//! Each core has a cache that never overflows. A line is with one core that may have written it, or
//! with any number that have only read it. A load of a line that is not here, and a store to one
//! that is not here alone, move it: that counts as one transfer. Cores take turns, an operation
//! each. That is the worst order for a line that all use: in reality a core sometimes gets several
//! operations done before the line is taken away.

use super::load::OPERATIONS;
use super::trace::{Trace, Use};
use std::collections::{HashMap, HashSet};

/// What was counted, per operation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Coherence {
    pub(crate) cores: usize,
    /// Lines that moved.
    pub(crate) transfers: f64,
    /// How often the line moved that moved most.
    pub(crate) hottest: f64,
}

/// Which cores have a line.
#[derive(Default)]
struct Line {
    holders: HashSet<usize>,
    /// May the only holder write it without asking?
    alone: bool,
}

/// Rounds that fill the caches, and rounds that count.
const ROUNDS: usize = 4 * OPERATIONS;

/// Plays the operations of so many cores. There are fewer watched threads than cores may be: the
/// others do what those did, somewhat later, with private lines of their own.
pub(crate) fn play(trace: &Trace, cores: usize) -> Coherence {
    let shared = trace.shared();
    let watched = trace.threads.len();
    let mut lines = HashMap::<(u64, usize), Line>::new();
    let mut moved = HashMap::<(u64, usize), u64>::new();
    for round in 0..2 * ROUNDS {
        for core in 0..cores {
            let thread = &trace.threads[core % watched];
            let operations = thread.len();
            // Clones are apart, so that they do not do the same at the same time.
            let number = (round + core / watched * operations * 3 / 7) % operations;
            for access in &thread[number].accesses {
                let owner = if shared.contains_key(&access.line) { usize::MAX } else { core };
                let name = (access.line, owner);
                let line = lines.entry(name).or_default();
                let here = line.holders.contains(&core);
                let fits = here && (access.how == Use::Load || line.alone);
                if !fits && round >= ROUNDS {
                    *moved.entry(name).or_default() += 1;
                }
                if access.how == Use::Load {
                    line.alone &= here;
                    line.holders.insert(core);
                } else {
                    line.holders.clear();
                    line.holders.insert(core);
                    line.alone = true;
                }
            }
        }
    }
    let operations = (ROUNDS * cores) as f64;
    Coherence {
        cores,
        transfers: moved.values().sum::<u64>() as f64 / operations,
        hottest: moved.values().copied().max().unwrap_or(0) as f64 / operations,
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::{Access, Step};
    use super::*;

    /// Each of 16 threads does this in each operation.
    fn trace(accesses: impl Fn(u64) -> Vec<Access>) -> Trace {
        let step = |index| Step { accesses: accesses(index), instructions: 1, fences: 0 };
        Trace::of((0..16).map(|index| vec![step(index); OPERATIONS]).collect())
    }

    fn line(line: u64, how: Use) -> Access {
        Access { line, how }
    }

    #[test]
    fn a_line_that_is_not_shared_never_moves() {
        let trace =
            trace(|index| vec![line(100 + index, Use::Atomic), line(100 + index, Use::Load)]);
        for cores in [1, 2, 16, 64] {
            assert_eq!(play(&trace, cores), Coherence { cores, transfers: 0.0, hottest: 0.0 });
        }
    }

    #[test]
    fn what_all_only_read_never_moves() {
        let trace = trace(|_| vec![line(1, Use::Load), line(2, Use::Load)]);
        assert_eq!(play(&trace, 16).transfers, 0.0);
    }

    #[test]
    fn what_all_write_moves_in_each_operation() {
        let trace = trace(|_| vec![line(1, Use::Load), line(1, Use::Store), line(2, Use::Load)]);
        assert_eq!(play(&trace, 1).transfers, 0.0);
        // The load moves it, and the store asks again since another one has a copy.
        for cores in [2, 64] {
            assert_eq!(play(&trace, cores), Coherence { cores, transfers: 2.0, hottest: 2.0 });
        }
    }

    #[test]
    fn one_writer_takes_the_line_from_all_readers() {
        let how = |index| if index == 0 { Use::Store } else { Use::Load };
        let trace = trace(|index| vec![line(1, how(index))]);
        // In each turn of four cores: one store, and three loads that come after it.
        assert_eq!(play(&trace, 4).transfers, 1.0);
    }
}
