//! Per-thread counters: only their own thread writes them, any thread may add them up.

// Counters are not part of the protocol and must not add to a checker's state space.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and others read.
///
/// Counting is a plain load, add and store (Relaxed: no other memory is published through it), so
/// it costs one cached store and no read-modify-write.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`. Only the thread that owns the descriptor may call this.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds `n`, from any thread: for a counter that no thread owns. To add nothing does not touch it: threads share its
    /// cache line.
    pub fn add_shared(&self, n: u64) {
        if n != 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The count as another thread may see it: possibly a little old.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why an attempt was aborted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// A cell to be written was claimed by another transaction.
    Claimed,
    /// A cell was reserved by an older transaction that escalates.
    Reserved,
    /// A cell that was read had changed before commit, or before the next read.
    Changed,
    /// Another thread aborted the attempt, to take over a claim that stood in its way.
    Preempted,
    /// The closure asked to wait (`retry`).
    Retry,
    /// The closure returned an error of its own, or panicked.
    User,
}

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident),+ $(,)?) => {
        /// The counters of one thread (inside its descriptor).
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ThreadCounters { $($(#[doc = $help])+ pub $name: Counter),+ }

        impl ThreadCounters {
            /// All at zero.
            pub const fn new() -> Self {
                ThreadCounters { $($name: Counter::new()),+ }
            }

            /// Adds this thread's counts to `sum`.
            pub fn add_to(&self, sum: &mut Statistics) {
                // Those of a region may be damaged.
                $(sum.$name = sum.$name.wrapping_add(self.$name.get());)+
            }
        }

        /// What a domain's transactions have done so far, added up over all threads, those that
        /// have ended included. A momentary, slightly inconsistent view: threads go on counting
        /// while it is taken.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
        #[non_exhaustive]
        pub struct Statistics { $($(#[doc = $help])+ pub $name: u64),+ }

        impl Statistics {
            /// What has been counted since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Statistics) -> Statistics {
                Statistics { $($name: self.$name.wrapping_sub(earlier.$name)),+ }
            }

            /// Each count as a name, its value and what it counts, for whatever keeps metrics. All only grow (but for
            /// those that a statistics gives that is [since](Self::since) another).
            ///
            /// ```
            /// let statistics = contempo_sched::descriptor::statistics::Statistics::default();
            /// let (name, value, help) = statistics.entries().next().expect("there are some");
            /// assert_eq!((name, value), ("commits", 0));
            /// assert_eq!(help, "Transactions that wrote and committed.");
            /// ```
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + use<> {
                [$((stringify!($name), self.$name, concat!($($help),+).trim_ascii())),+].into_iter()
            }

            /// Both together.
            #[must_use]
            pub fn plus(&self, other: &Statistics) -> Statistics {
                Statistics { $($name: self.$name.wrapping_add(other.$name)),+ }
            }
        }
    };
}

counters! {
    /// Transactions that wrote and committed.
    commits,
    /// Transactions, snapshots and single-cell operations that finished without writing.
    read_only,
    /// Attempts aborted because a cell was claimed by another transaction.
    aborts_claimed,
    /// Attempts aborted because an older transaction had reserved a cell.
    aborts_reserved,
    /// Attempts aborted because a cell that they had read changed.
    aborts_changed,
    /// Attempts aborted by another thread that took over a claim.
    aborts_preempted,
    /// Attempts ended by `retry`.
    retries,
    /// Attempts ended by the closure's own error or panic.
    aborts_user,
    /// Times that a thread slept in `retry`.
    waits,
    /// Sleeping threads woken to make another attempt: because a cell had changed.
    wakes,
    /// Of those, the ones that were woken because a timer's time was up.
    paced,
    /// Woken threads that blocked again in their next attempt.
    wakes_in_vain,
    /// Sleeping threads told to sleep with a time limit, as the timer of a cell that many wait for.
    nudges,
    /// Times that a commit had to draw a second stamp because a reader was ahead of it.
    bumps,
    /// Other transactions aborted in order to take over a claim.
    takeovers,
    /// Times that a transaction queued up behind others.
    queued,
    /// Attempts that escalated: their reservations made younger transactions give way.
    escalated,
    /// Commits to cells that others were queueing for.
    passed,
    /// Transactions called out of a queue by a release.
    called,
    /// Reservations of others ended: by an older transaction, or because the grace was over.
    revoked,
    /// Read sets validated in order to move a snapshot forward.
    extensions,
    /// Versions and cells handed to reclamation.
    retired,
    /// Versions and cells whose memory was reclaimed.
    reclaimed,
    /// Times that a thread gave the processor away between two transactions, since its quantum was over.
    yields,
    /// Process-wide barriers that the reclaimer paid for.
    barriers,
}

impl Statistics {
    /// Versions and cells that wait for their contemporaries to finish.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.retired.saturating_sub(self.reclaimed)
    }

    /// All aborted attempts, whatever the cause.
    #[must_use]
    pub fn aborts(&self) -> u64 {
        self.aborts_claimed
            + self.aborts_reserved
            + self.aborts_changed
            + self.aborts_preempted
            + self.aborts_user
    }
}

impl ThreadCounters {
    /// How many transactions have ended well.
    #[inline]
    pub fn done(&self) -> u64 {
        self.commits.get().wrapping_add(self.read_only.get())
    }

    /// Counts one aborted attempt.
    pub fn count_abort(&self, cause: Cause) {
        match cause {
            Cause::Claimed => self.aborts_claimed.add(1),
            Cause::Reserved => self.aborts_reserved.add(1),
            Cause::Changed => self.aborts_changed.add(1),
            Cause::Preempted => self.aborts_preempted.add(1),
            Cause::Retry => self.retries.add(1),
            Cause::User => self.aborts_user.add(1),
        }
    }
}
