//! Software transactional memory: readers take no lock, and snapshots never abort; writers decide by one
//! word, and a thread that stops anywhere stops no other.
//!
//! ```
//! use contempo::{TVar, atomically};
//!
//! let (from, to) = (TVar::new(100_u64), TVar::new(0_u64));
//! atomically(|tx| {
//!     tx.modify(&from, |balance| balance - 30)?;
//!     tx.modify(&to, |balance| balance + 30)
//! });
//! assert_eq!((from.load(), to.load()), (70, 30));
//! ```
//!
//! # A short guide
//!
//! **Cells.** A [`TVar`] is a handle on a mutable cell: one pointer, cloned like an `Arc`. Put it
//! into structs, values of other cells, closures, threads; into statics with [`static_tvar!`].
//! Values are immutable: a write makes a new one, and a reader with a reference to the old one keeps it.
//!
//! **Transactions.** [`atomically`] runs a closure until it commits; [`Transaction::read`] gives a
//! reference, [`write`](Transaction::write) and [`modify`](Transaction::modify) make new values.
//! Pass every `Err` on with `?`: it is the runtime asking for another attempt. Compose by passing
//! the handle: `fn deposit(tx: &Transaction<'_>, …) -> StmResult<()>`. The closure may run several
//! times, so effects outside of cells belong into [`on_commit`](Transaction::on_commit).
//!
//! **Reading only.** [`snapshot`] sees all cells as they were at one moment. It cannot fail, is
//! never repeated and keeps no log; its reads need no `?`.
//!
//! **Waiting.** [`retry`](Transaction::retry) and [`check`](Transaction::check) put the thread to
//! sleep until a cell that the attempt has read changes; [`or_else`](Transaction::or_else) and
//! [`first_of`](Transaction::first_of) try something else first; bounds come from
//! [`Transaction::builder`], [`retry_timeout`](Transaction::retry_timeout) and, for a part,
//! [`nested_timeout`](Transaction::nested_timeout). [`try_once`] never waits. One cell alone:
//! [`TVar::wait_until`].
//!
//! **Hooks and values.** [`atomically_scoped`] has hooks that borrow what lives around it, and hooks that may refuse the
//! commit; a [`TransactionLocal`] is a value of the transaction's own.
//!
//! **Tasks.** [`atomically_async`] is a transaction as a future: it waits without a thread, on any executor, and is
//! cancelled by dropping it. [`TVar::changes`] is the values of a cell as a stream; a [`CancellationToken`] ends what
//! waits, thread or task.
//!
//! **Failing.** [`try_atomically`] returns errors of your own and rolls back;
//! [`nested`](Transaction::nested) undoes a part and goes on. `?` works on errors that implement
//! [`std::error::Error`]; wrap others, also `anyhow::Error` and `Box<dyn Error>`, with
//! `.map_err(Abort::error)?`. A panic rolls back and goes on; nothing is ever poisoned.
//!
//! **One cell.** [`TVar::load`], [`with`](TVar::with), [`store`](TVar::store),
//! [`update`](TVar::update), [`swap`](TVar::swap) and
//! [`compare_and_store`](TVar::compare_and_store) are transactions of their own, with a shorter way.
//!
//! **Collections.** [`collections`] has maps, sets, a vector, queues, channels, semaphores and what else programs
//! share; operations on different keys, and at different ends, rarely conflict.
//!
//! **Contention.** Conflicting transactions take turns, and one that has lost for long goes first; nothing
//! need be done for that. [`atomically_on`] declares the cells of a transaction that conflicts often;
//! [`contention_report`] says which cells cause conflicts (name them with [`TVar::named`]) and which
//! transaction waits for which; [`configure`] has the knobs.
//!
//! **What it costs.** A read is two loads and a log entry, a write a small block from the thread's
//! cache; a commit draws one stamp from a shared clock. Old values are held until every transaction
//! that began before they were replaced has ended: keep transactions short, snapshots too.
//! [`statistics`] counts what happens; the feature `tracing` reports aborts and waits, the feature `metrics` gives the
//! counts to a recorder of that facade, and the feature `places` tells reports where cells were made.
//!
//! **Serializing.** With the feature `serde` a cell or collection goes out as it is in one snapshot, and what comes in
//! becomes a new one. Statistics and reports can be serialized, too.
//!
//! **Checking.** Your own programs on contempo run under loom and shuttle: see [`checking`].
//!
//! More: the [`guide`], with limits and guarantees; [`checking`]; the [`readme`]. How contempo works is told in the
//! folder `docs` of the repository.

pub mod collections;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(all(
    feature = "shared",
    target_os = "linux",
    target_pointer_width = "64",
    not(any(contempo_loom, contempo_shuttle))
))]
pub mod shared;

pub use contempo_core::{
    Abort, AccessSet, Activity, Builder, CancellationToken, Cause, Changes, Conflicts,
    ContendedCell, ContentionReport, Doing, Exhausted, Interrupt, Made, Policy, Running, Scoped,
    ScopedTransaction, Settings, SettingsError, Sleeper, Snapshot, Statistics, StmResult, TVar,
    ThreadActivity, Transaction, TransactionLocal, TryError, Waiter, activity, atomically,
    atomically_async, atomically_on, atomically_on_async, atomically_scoped, collect, configure,
    contention_report, policy, reset_contention, settings, snapshot, static_tvar, statistics,
    try_atomically, try_atomically_async, try_atomically_scoped, try_once,
};

/// Attempts that are driven step by step, for interpreters and foreign languages.
#[doc(hidden)]
pub mod explicit {
    #[cfg(all(
        feature = "shared",
        target_os = "linux",
        target_pointer_width = "64",
        not(any(contempo_loom, contempo_shuttle))
    ))]
    pub use crate::shared::explicit::{
        Again as SharedAgain, Attempt as SharedAttempt, Detached as SharedDetached, Stopped,
        transaction,
    };
    pub use contempo_core::explicit::*;
}

#[doc = include_str!("../README.md")]
pub mod readme {}

#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[doc = include_str!("../docs/checking.md")]
pub mod checking {
    pub use contempo_core::checking::{Explorer, explore, sync, thread};
}
