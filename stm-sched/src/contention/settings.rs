//! The knobs of a domain's scheduling.

use crate::contention::policy::{Grace, MOST_GRACES, Policy};
use crate::contention::rules::Rules;
use crate::primitives::CHECKED;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// How a domain schedules its transactions. The defaults are what was found by measuring
/// (`docs/scheduling.md`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How conflicts are settled.
    pub policy: Policy,
    /// How long after its first failed attempt a transaction begins to escalate: to reserve what it
    /// touches, so that younger transactions give way.
    pub escalate_after: Duration,
    /// How long the first in a queue lets others pass before it escalates. Longer is better for
    /// throughput (the thread that has the cell keeps it hot), shorter is better for latency.
    pub slice: Duration,
    /// How long a transaction that escalates is respected without a sign of life (an access, or an
    /// attempt). Longer for the rest of a transaction that has come to its next access too late: by twice the time by
    /// which it came too late, and up to sixteen graces (160 ms by default).
    ///
    /// So a transaction that computes for longer than that between two accesses may be overtaken again and again by
    /// those that wait for it, and may starve while they keep coming: set a longer grace then. And a transaction that
    /// waits, inside its closure, for something outside (it joins a thread, reads from a socket) that needs what it has
    /// reserved holds both up for a grace period at each conflict, and for sixteen at most.
    pub grace: Duration,
    /// How long a thread that writes runs before it gives the processor away, between two
    /// transactions, to a thread that waits for it; zero: never. Longer, but at most 2 ms if this is less,
    /// while it shares its core with one that does not. Should be shorter than the system's time
    /// slice: a thread that is descheduled inside a transaction holds back the memory of what others replace
    /// meanwhile ([`quantum`](crate::contention::yielding)).
    pub quantum: Duration,
}

impl Settings {
    /// The defaults.
    pub const DEFAULT: Settings = Settings {
        policy: Policy::Turns,
        escalate_after: Duration::from_micros(100),
        slice: Duration::from_micros(100),
        grace: Duration::from_millis(10),
        quantum: Duration::from_micros(200),
    };

    /// For how long the first in a queue lets others pass, at its `waits`-th wait: a transaction that waits again and
    /// again (for a long one) looks less and less often, but once in each grace.
    pub fn slice_of_wait(&self, waits: u32) -> Duration {
        let slice = self.slice.saturating_mul(1 << waits.min(16).saturating_sub(1));
        slice.min(self.longest_slice())
    }

    /// The longest such time.
    pub fn longest_slice(&self) -> Duration {
        self.grace.max(self.slice)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::DEFAULT
    }
}

/// A setting is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SettingsError {
    /// A duration is more than an hour, or (for a grace period) less than a millisecond.
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was asked for.
        asked: Duration,
        /// The least that is possible.
        least: Duration,
        /// The most that is possible.
        most: Duration,
    },
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SettingsError::OutOfRange { setting, asked, least, most } = self;
        write!(f, "`{setting}` of {asked:?} is out of range: it can be from {least:?} to {most:?}")
    }
}

impl std::error::Error for SettingsError {}

const HOUR: Duration = Duration::from_secs(3600);

/// The settings of a domain, as its threads read them: after a failed attempt only.
// Not part of the protocol: a knob that is read a moment late does no harm, and must not add to a
// checker's state space. All Relaxed for the same reason, but for the policy, which may lead to rules.
#[derive(Debug)]
pub struct Knobs {
    policy: AtomicPtr<Rules>,
    escalate_after: AtomicU64,
    slice: AtomicU64,
    grace: AtomicU64,
    quantum: AtomicU64,
}

impl Knobs {
    /// The defaults.
    pub const fn new() -> Self {
        let settings = Settings::DEFAULT;
        Knobs {
            policy: AtomicPtr::new(settings.policy.to_word()),
            escalate_after: AtomicU64::new(settings.escalate_after.as_nanos() as u64),
            slice: AtomicU64::new(settings.slice.as_nanos() as u64),
            grace: AtomicU64::new(settings.grace.as_nanos() as u64),
            quantum: AtomicU64::new(settings.quantum.as_nanos() as u64),
        }
    }

    /// Changes the settings. Transactions that are waiting now go on waiting by the old ones.
    ///
    /// # Errors
    /// [`SettingsError`] if one is out of its range; nothing is changed then.
    pub fn set(&self, settings: Settings) -> Result<(), SettingsError> {
        let check = |setting, asked: Duration, least| {
            if asked < least || asked > HOUR {
                return Err(SettingsError::OutOfRange { setting, asked, least, most: HOUR });
            }
            Ok(asked.as_nanos() as u64)
        };
        let escalate_after = check("escalate_after", settings.escalate_after, Duration::ZERO)?;
        let slice = check("slice", settings.slice, Duration::ZERO)?;
        let grace = check("grace", settings.grace, Duration::from_millis(1))?;
        let quantum = check("quantum", settings.quantum, Duration::ZERO)?;
        // Release, partner: the acquire in `policy`: the rules were made before, perhaps by this thread just now.
        self.policy.store(settings.policy.to_word(), Ordering::Release);
        self.escalate_after.store(escalate_after, Ordering::Relaxed);
        self.slice.store(slice, Ordering::Relaxed);
        self.grace.store(grace, Ordering::Relaxed);
        self.quantum.store(quantum, Ordering::Relaxed);
        Ok(())
    }

    /// The settings in force.
    pub fn get(&self) -> Settings {
        Settings {
            policy: self.policy(),
            escalate_after: Duration::from_nanos(self.escalate_after()),
            slice: Duration::from_nanos(self.slice.load(Ordering::Relaxed)),
            grace: Duration::from_nanos(self.grace().least()),
            quantum: Duration::from_nanos(self.quantum.load(Ordering::Relaxed)),
        }
    }

    /// The policy in force.
    #[inline]
    pub fn policy(&self) -> Policy {
        // Acquire, partner: the release in `set`: what is read of rules is read after they were made.
        let word = self.policy.load(Ordering::Acquire);
        // SAFETY: `new` and `set` have made it, and that happens before this.
        unsafe { Policy::from_word(word) }
    }

    /// The delay of escalation in nanoseconds. Under the checkers, where time stands still, it never ends: a
    /// transaction escalates after it has queued.
    #[inline]
    pub fn escalate_after(&self) -> u64 {
        if CHECKED { u64::MAX } else { self.escalate_after.load(Ordering::Relaxed) }
    }

    /// The grace of a world in which each access is a sign of life.
    #[inline]
    pub fn grace(&self) -> Grace {
        self.grace_up_to(MOST_GRACES)
    }

    /// The grace, up to so many times that.
    #[inline]
    pub fn grace_up_to(&self, times: u64) -> Grace {
        Grace::new(self.grace.load(Ordering::Relaxed), times)
    }

    /// The quantum in nanoseconds, if there is one. Under the checkers there is none.
    #[inline]
    pub fn quantum(&self) -> Option<u64> {
        let quantum = self.quantum.load(Ordering::Relaxed);
        // Miri has no processors to give away, and does not know which one it is.
        (quantum > 0 && !CHECKED && !cfg!(miri)).then_some(quantum)
    }
}

impl Default for Knobs {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_double_from_wait_to_wait_up_to_a_grace() {
        let settings = Settings::default();
        let slices = [0, 1, 2, 3, 7, 8, u32::MAX].map(|waits| settings.slice_of_wait(waits));
        assert_eq!(
            slices.map(|slice| slice.as_micros()),
            [100, 100, 200, 400, 6400, 10_000, 10_000]
        );
        let longer = Settings { slice: Duration::from_secs(3600), ..settings };
        assert_eq!(longer.slice_of_wait(9), Duration::from_secs(3600), "not cut by the grace");
    }

    #[test]
    fn what_is_set_is_read_and_what_is_out_of_range_changes_nothing() {
        let knobs = Knobs::new();
        assert_eq!(knobs.get(), Settings::default());
        static OWN: Rules = Rules::new("own", |_| unreachable!(), |_| unreachable!());
        for policy in Policy::ALL.into_iter().chain([Policy::Own(&OWN)]) {
            let wanted = Settings { policy, slice: Duration::ZERO, ..Settings::default() };
            knobs.set(wanted).unwrap();
            assert_eq!(knobs.get(), wanted);
        }
        let before = knobs.get();
        let error = knobs.set(Settings { grace: Duration::ZERO, ..before }).unwrap_err();
        assert!(error.to_string().contains("`grace` of 0ns is out of range"), "{error}");
        assert_eq!(knobs.get(), before);
    }
}
