//! The targets of readers that lag.

use super::super::table::short;
use super::{Judge, Unit, of};
use crate::stats::Quartiles;
use crate::workloads::lag::figure;

const MILLISECOND: f64 = 1e6;

impl Judge<'_> {
    pub(super) fn lag(&mut self) {
        self.row = "a snapshot beside writers";
        self.behind();
        self.worst_of_all();
        self.held();
    }

    /// The most that a figure was in any round.
    fn most(&self, workload: &str, threads: usize, name: &str) -> Option<f64> {
        self.figure(workload, threads, name)?.iter().copied().max_by(f64::total_cmp)
    }

    fn behind(&mut self) {
        for (workload, updates) in [
            ("lag-behind-0", "0"),
            ("lag-behind-40k", "40,000"),
            ("lag-behind-400k", "400,000"),
            ("lag-behind-4m", "4,000,000"),
        ] {
            let Some(reads) = self.part(workload, 5, "2,000 reads") else { continue };
            let worst = Quartiles::of([reads.latency.worst]);
            let what = format!("2,000 reads, {updates} updates behind: the worst (absolute)");
            self.add(what, Unit::Nanoseconds, worst, (false, MILLISECOND));
            if let Some(running) = self.most(workload, 5, figure::WORST_RUNNING) {
                self.note(format!("less waiting for a core: {} ms", short(running)));
            }
        }
    }

    fn worst_of_all(&mut self) {
        let (name, limit) = ("lag-worst", (false, 30.0 * MILLISECOND));
        let nanoseconds = |it: f64| it * MILLISECOND;
        let Some(all) = self.figure(name, 5, figure::WORST) else { return };
        let waited = self.figure(name, 5, figure::WAITED);
        let places = 0..all.len();
        let Some(at) = places.max_by(|one, other| all[*one].total_cmp(&all[*other])) else {
            return;
        };
        let worst = Quartiles::of([nanoseconds(all[at])]);
        let what = "snapshots of 2,000 cells beside 4 writers: the worst (absolute)";
        self.add(what.into(), Unit::Nanoseconds, worst, limit);
        if let Some(waited) = waited.and_then(|waited| waited.get(at).copied()) {
            self.note(format!("of that, {} ms it waited for a core", short(waited)));
        }
        let running = self.most(name, 5, figure::WORST_RUNNING);
        let running = running.and_then(|it| Quartiles::of([nanoseconds(it)]));
        self.add("the same, less waiting for a core".into(), Unit::Nanoseconds, running, limit);
    }

    fn held(&mut self) {
        // Of what was written, one version for each cell (1 MiB of kilobytes), and what one thread gathers
        // before it looks what is needed (8,192 versions).
        for (workload, threads, what, mebibytes) in [
            ("lag-held-1", 2, "8,000,000 updates by 1", 8.0),
            ("lag-held-4", 5, "8,000,000 updates by 4", 8.0),
            ("lag-kilobytes", 2, "1 KB written for a second", 10.0),
        ] {
            let figure = |name: &str| self.figure(workload, threads, name).and_then(of);
            let (memory, rate) = (figure(figure::MEBIBYTES), figure(figure::RATE));
            let efficiency = figure(figure::PER_PROCESSOR_SECOND);
            let what = |of: &str| format!("{what} beside a snapshot: {of}");
            self.add(what("memory"), Unit::Mebibytes, memory, (false, mebibytes));
            self.add(what("rate / without"), Unit::Times, rate, (true, 0.95));
            if let Some(efficiency) = efficiency {
                self.note(format!("by processor time: {}", short(efficiency.median)));
            }
        }
    }
}
