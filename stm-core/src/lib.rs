//! Cells and transactions: the protocol of contempo.
//!
//! | room | job |
//! | --- | --- |
//! | [`layout`] | versions and cells as they lie in memory |
//! | [`domain`] | what the protocol is generic over: links, clock, table; traits alone |
//! | [`protocol`] | read, claim, commit, settle; the write log |
//! | `session` | hooks, events, errors: what every world's transactions end with |
//! | `local` | this process: its domain, thread context, `TVar`, transactions, snapshots |
//! | `region` | the same protocol in memory that processes share (Linux) |
//!
//! Users import the `contempo` crate, not this one.

#[doc(hidden)]
pub mod domain;
#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
pub mod local;
#[doc(hidden)]
pub mod protocol;
#[cfg(all(
    feature = "region",
    target_os = "linux",
    target_pointer_width = "64",
    not(any(contempo_loom, contempo_shuttle))
))]
#[doc(hidden)]
pub mod region;
#[doc(hidden)]
pub mod session;

pub use contempo_sched::contention::activity::{Activity, Doing, ThreadActivity};
pub use contempo_sched::contention::policy::Policy;
pub use contempo_sched::contention::report::{
    ContendedCell, ContentionReport, Made, Sleeper, Waiter,
};
pub use contempo_sched::contention::settings::{Settings, SettingsError};
pub use contempo_sched::descriptor::conflicts::Conflicts;
pub use contempo_sched::descriptor::statistics::{Cause, Statistics};
use contempo_sched::primitives::checked::Step;
#[doc(hidden)]
pub use contempo_sched::primitives::guard;
pub use local::access_set::{AccessSet, atomically_on};
pub use local::cancel::CancellationToken;
pub use local::changes::Changes;
pub use local::future::{atomically_async, atomically_on_async, try_atomically_async};
pub use local::operations::try_once;
pub use local::run::{Builder, atomically, try_atomically};
pub use local::scoped::{ScopedTransaction, atomically_scoped, try_atomically_scoped};
pub use local::snapshot::{Snapshot, snapshot};
pub use local::transaction::Transaction;
pub use local::tvar::TVar;
pub use session::error::{Abort, Exhausted, Interrupt, StmResult, TryError};
pub use session::running::Running;
pub use session::scoped::Scoped;
pub use session::values::TransactionLocal;

/// Attempts that are driven step by step, for interpreters and foreign languages.
#[doc(hidden)]
pub mod explicit {
    pub use crate::local::detached::Detached;
    pub use crate::local::explicit::{Again, Attempt, begin};
    pub use crate::session::attempts::Ended;
    pub use crate::session::bounds::Limits;
    pub use crate::session::explicit::{BeginError, Committed, Savepoint, SavepointError, Why};
}

/// What rules of a program's own are about ([`Policy::Own`]): bids, and verdicts.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::policy::{ClaimBid, FailureBid, Next, Rules, Verdict};
/// use contempo::{Policy, TVar};
///
/// /// What is in the way goes first; a transaction that has failed twice waits in the queue of the cell.
/// static MODEST: Rules = Rules::new(
///     "modest",
///     |bid: ClaimBid| if bid.spins < 100 { Verdict::Spin } else { Verdict::GiveBack },
///     |bid: FailureBid| if bid.failures < 2 { Next::Again(64) } else { Next::Queue },
/// );
///
/// let mut settings = contempo::settings();
/// settings.policy = Policy::Own(&MODEST);
/// contempo::configure(settings)?;
/// let counter = TVar::new(0);
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| (0..1000).for_each(|_| counter.update(|n| n + 1)));
///     }
/// });
/// assert_eq!(counter.load(), 2000);
/// # contempo::configure(contempo::Settings::default())?;
/// # Ok::<(), contempo::SettingsError>(())
/// ```
pub mod policy {
    pub use contempo_sched::contention::policy::{ClaimBid, FailureBid, Next, Verdict};
    pub use contempo_sched::contention::rules::Rules;
    pub use contempo_sched::words::Rank;
}

/// The harness for programs under a checker.
pub mod checking {
    pub use contempo_sched::primitives::checked::{Explorer, explore, sync, thread};
}

/// What the transactions of this process have done so far. Linear in the number of threads; costs
/// the transactions nothing but a cached store each.
///
/// ```
/// # use contempo_core as contempo;
/// let cell = contempo::TVar::new(0);
/// let before = contempo::statistics();
/// cell.store(1);
/// assert_eq!(contempo::statistics().since(&before).commits, 1);
/// ```
pub fn statistics() -> Statistics {
    local::context::with(|context| {
        context.step(Step::Ask);
        context.domain.statistics()
    })
}

/// Threads that begin to use cells from now on share stamps as soon as they can, whatever that costs. For tests: else they do
/// so only where it pays.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[doc(hidden)]
pub use contempo_sched::clock::share_stamps;

/// The phase of the clock in which the last commit of this thread that wrote has drawn its stamp: what orders the versions
/// of a cell, but for those of one phase. For checks of recorded histories; a write without a look has no other way to
/// learn what it replaced.
///
/// ```
/// let cell = contempo_core::TVar::new(0);
/// cell.store(1);
/// let first = contempo_core::last_phase();
/// cell.store(2);
/// assert!(contempo_core::last_phase() >= first);
/// ```
#[doc(hidden)]
pub fn last_phase() -> u64 {
    use contempo_sched::clock::Clock;
    // Relaxed: written by this thread only.
    local::context::with(|context| {
        let stamp = context.descriptor.stamp.load(contempo_sched::primitives::Ordering::Relaxed);
        stamp >> local::domain::ProcessClock::DRAWER_BITS
    })
}

/// The number of this thread among those that run transactions, for a checker: its threads are not the
/// system's.
#[cfg(any(contempo_loom, contempo_shuttle))]
#[doc(hidden)]
pub fn thread_number() -> usize {
    local::context::with(|context| context.slot() as usize)
}

/// How conflicts are settled in this process now.
///
/// ```
/// # use contempo_core as contempo;
/// assert_eq!(contempo::settings(), contempo::Settings::default());
/// ```
pub fn settings() -> Settings {
    local::context::with(|context| context.domain.knobs().get())
}

/// Changes how conflicts are settled in this process. Holds for attempts that fail from now on.
///
/// # Errors
/// [`SettingsError`] if a setting is out of its range; nothing is changed then.
///
/// ```
/// # use contempo_core as contempo;
/// use std::time::Duration;
/// let mut settings = contempo::settings();
/// settings.slice = Duration::from_micros(500); // more throughput, more latency
/// contempo::configure(settings)?;
/// settings.grace = Duration::ZERO;
/// assert!(contempo::configure(settings).is_err());
/// # contempo::configure(contempo::Settings::default())?;
/// # Ok::<(), contempo::SettingsError>(())
/// ```
pub fn configure(settings: Settings) -> Result<(), SettingsError> {
    local::context::with(|context| context.domain.knobs().set(settings))
}

/// The `most` cells at which the most attempts have failed since the process began (or since
/// [`reset_contention`]), which thread waits for which now, and which threads and tasks sleep in `retry`, since when, and for a
/// change of which cells. Its `Display` is a table. [`deadlock`](ContentionReport::deadlock) says whether all threads and tasks
/// sleep that could wake another.
///
/// A cell goes by its [name](TVar::named), if it has one. With the feature `places` it is told where each cell was made,
/// and its type; and a cell of a collection without a name goes by where that was made, and what it is there
/// (`TMap made at cart.rs:7:15: bucket 3`). A transaction is told by its [label](Builder::label).
///
/// Each thread remembers the 64 cells where it has lost most; what it costs is paid by attempts that
/// fail. Linear in the number of threads, and of tasks that wait.
///
/// ```
/// # use contempo_core as contempo;
/// let till = contempo::TVar::named("till", 0);
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| (0..1000).for_each(|_| till.update(|n| n + 1)));
///     }
/// });
/// println!("{}", contempo::contention_report(10)); // `till` first, if there was any conflict
/// ```
pub fn contention_report(most: usize) -> ContentionReport {
    local::context::with(|context| {
        context.step(Step::Ask);
        context.domain.contention(most, context.slot())
    })
}

/// What this process's threads do with cells now, and have done: the [contention report](contention_report), the
/// [statistics], and each thread. For a live view (`contempo-live` serves one as a page), or a log of what hangs.
///
/// Linear in the number of threads, and of tasks that wait; costs them nothing.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::Doing;
/// let cell = contempo::TVar::new(0);
/// let seen = contempo::atomically(|tx| {
///     tx.read(&cell)?;
///     Ok(contempo::activity(10))
/// });
/// let thread = seen.threads.iter().find(|thread| thread.doing == Doing::Running).expect("this one");
/// assert_eq!(seen.held_for(thread), Some(0), "it has just begun");
/// ```
pub fn activity(most: usize) -> Activity {
    local::context::with(|context| {
        context.step(Step::Ask);
        context.domain.activity(most, context.slot())
    })
}

/// What reports call something of this kind that its program has given no name: by the place where it was made. Only with
/// the feature `places`.
#[doc(hidden)]
#[track_caller]
#[inline(always)]
pub fn place_name(kind: &str) -> Option<String> {
    #[cfg(feature = "places")]
    return Some(format!("{kind} made at {}", std::panic::Location::caller()));
    #[cfg(not(feature = "places"))]
    {
        let _ = kind;
        None
    }
}

/// Forgets the conflicts that [`contention_report`] has counted so far.
///
/// ```
/// contempo_core::reset_contention();
/// assert!(contempo_core::contention_report(1).waiters.is_empty());
/// ```
pub fn reset_contention() {
    local::context::with(|context| ContentionReport::reset(domain::Domain::table(context.domain)));
}

/// Frees, outside any transaction, what this thread has replaced, and what others have left that they
/// could not free; all that no running transaction holds, if need be by a process-wide barrier (some
/// microseconds). Linear in the number of threads, and in what is freed.
///
/// Happens by itself, as [`TVar`] says: at once if a value with a destructor or a large one was replaced,
/// else every hundred writes or so, and then less thoroughly. Call it where threads that work without a
/// pause come to rest, or where the memory of small values should go back. (What other threads hold of
/// those, a hundred or so each, they free themselves.)
///
/// In a destructor that runs while its thread panics it frees nothing, since another panic there would end
/// the process: what it found stays for the next collection.
///
/// # Panics
/// If called inside a transaction of the same thread.
///
/// ```
/// contempo_core::collect();
/// ```
#[track_caller]
pub fn collect() {
    use contempo_alloc::reclaim::interface::Reclaim as _;
    let context: &local::context::Context = &local::context::current();
    context.begin_session();
    context.end_session();
    context.outside(|| context.reclaimer.collect_thoroughly());
}
