//! What a run was measured on.

use crate::contenders::contempo;
use crate::engine::pin;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine and the build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Were threads bound to cores?
    pub(crate) pinned: bool,
    pub(crate) system: String,
    pub(crate) reclaimer: String,
    pub(crate) clock: String,
    pub(crate) version: String,
    /// Was it built with optimisation?
    pub(crate) optimised: bool,
    /// Seconds since 1970.
    pub(crate) when: u64,
    /// Processes that wanted to run when the run began, where it can be known.
    pub(crate) load: Option<f64>,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn this(pinned: bool) -> Self {
        Machine {
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: pin::count(),
            pinned,
            system: system(),
            reclaimer: contempo::RECLAIMER.to_owned(),
            clock: contempo::CLOCK.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            optimised: !cfg!(debug_assertions),
            when: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            load: first_number("/proc/loadavg"),
        }
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{}, {} core{}, {}, threads {}; contempo {} with reclaimer {} and clock {}{}",
            self.processor,
            self.cores,
            if self.cores == 1 { "" } else { "s" },
            self.system,
            if self.pinned { "pinned" } else { "not pinned" },
            self.version,
            self.reclaimer,
            self.clock,
            if self.optimised { "" } else { "; NOT OPTIMISED, figures mean nothing" },
        )
    }

    /// The day on which it was measured, as year-month-day (in UTC).
    pub(crate) fn day(&self) -> String {
        let when = UNIX_EPOCH + Duration::from_secs(self.when);
        humantime::format_rfc3339_seconds(when).to_string().chars().take(10).collect()
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim()).trim_end().to_owned()
}

fn first_number(path: &str) -> Option<f64> {
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// Processor time so far, of the whole machine and of this process, where it can be known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessorTime {
    total: f64,
    busy: f64,
    stolen: f64,
    own: f64,
}

/// What else used the processor, as parts of its time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disturbance {
    /// Other processes.
    pub(crate) others: f64,
    /// The hypervisor, for other machines.
    pub(crate) stolen: f64,
}

impl ProcessorTime {
    /// Until now.
    pub(crate) fn now() -> Option<Self> {
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        let numbers = |text: &str| -> Vec<f64> {
            text.split_whitespace().map(|it| it.parse().unwrap_or(0.0)).collect()
        };
        // user, nice, system, idle, iowait, irq, softirq, steal; then guests, which are in user.
        let all = numbers(all.lines().next()?.strip_prefix("cpu ")?);
        // After the name, which is in brackets and may contain anything: state is the first,
        // user and system time are the twelfth and thirteenth, and those of processes that it has
        // started, and that have ended, follow.
        let own = numbers(own.rsplit_once(')')?.1);
        let total = all.get(..8)?.iter().sum();
        let busy = total - all[3] - all[4] - all[7];
        Some(ProcessorTime { total, busy, stolen: all[7], own: own.get(11..15)?.iter().sum() })
    }

    /// What else used the processor since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Option<Disturbance> {
        let total = self.total - earlier.total;
        let others = (self.busy - earlier.busy) - (self.own - earlier.own);
        (total > 0.0).then(|| Disturbance {
            others: (others / total).max(0.0),
            stolen: (self.stolen - earlier.stolen) / total,
        })
    }
}
