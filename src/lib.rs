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
//! **Explaining.** [`activity`] tells what each thread does and waits for; the crate `contempo-live` serves that as a page,
//! and `contempo-shm top` shows it for a region.
//!
//! # Features
//!
//! | feature | |
//! | --- | --- |
//! | `shared` (default) | [`shared`]: cells that several processes share (64-bit Linux; elsewhere without effect) |
//! | `futures` | [`Changes`] is a `Stream` of the futures crates |
//! | `tracing` | a span for each transaction that did not commit at once, its failed attempts with cause and cell, and a warning for one that fails often |
//! | `metrics` | `contempo::metrics`: the counts go to the recorder of that facade |
//! | `serde` | cells and collections are serialized as a snapshot; statistics, reports and activity, too |
//! | `places` | reports tell where each cell was made, its type, and the collection that it belongs to |
//! | `clock-tsc` | the stamps of this process come from the processor's time-stamp counter (x86-64) |
//! | `reclaim-epoch` | reclaims through `crossbeam-epoch`, for comparison |
//!
//! # Where to read on
//!
//! | | |
//! | --- | --- |
//! | [`guide`] | all that transactions can do, in order |
//! | [`cookbook`] | a cache, a channel, a service, a worker pool, memoised recursion |
//! | [`reference`](mod@reference) | what is guaranteed, what it costs, limits; beside other ways to share state |
//! | [`checking`] | your own program under loom and shuttle |
//! | [`collections`], [`shared`] | maps, queues and what else programs share; cells between processes |
//!
//! How contempo works is told in the folder `docs` of the repository.

#![cfg_attr(docsrs, feature(doc_cfg))]

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

/// Its code is run as a test. (Its links lead to files, so it is no page here.)
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}

/// Pages of the repository, as link definitions. In a document they stand after those of the crate's documentation, which
/// come first and so count: there a link leads to a file beside it, here to the repository.
macro_rules! of_the_repository {
    ($($page:literal)*) => {
        concat!($("[", $page, "]: ", env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/", $page, "\n"),*)
    };
}

#[doc = "[checking]: crate::checking"]
#[doc = "[cookbook]: crate::cookbook"]
#[doc = "[reference]: crate::reference"]
#[doc = "[reference.md#regions-known-limits]: crate::reference#regions-known-limits"]
#[doc = "[reference.md#regions-what-is-not-there]: crate::reference#regions-what-is-not-there"]
#[doc = of_the_repository!(
    "../docs/decisions/cell-handles.md"
    "scheduling.md#waking-few"
    "scheduling.md"
    "regions.md#what-is-trusted"
)]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[doc = "[guide]: crate::guide\n"]
#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}

#[doc = "[guide]: crate::guide"]
#[doc = of_the_repository!(
    "proofs.md#opacity"
    "proofs.md#strict-serializability"
    "proofs.md#one-word-decides"
    "protocol.md#read"
    "protocol.md#take-over"
    "proofs.md#no-lost-wake-up"
    "proofs.md#lemma-c-what-a-transaction-can-reach-is-held"
    "protocol.md#user-code"
    "regions.md#death-at-any-instruction"
    "../BENCHMARKS.md"
    "scheduling.md"
    "proofs.md#bounded-bypass"
    "properties.md"
    "../docs/decisions/clock.md"
    "protocol.md#what-is-not-used-again"
    "regions.md#readers-that-lag"
    "protocol.md#taking-out"
    "protocol.md#invariants"
    "regions.md#the-file"
)]
#[doc = include_str!("../docs/reference.md")]
pub mod reference {}

#[doc = include_str!("../docs/checking.md")]
pub mod checking {
    pub use contempo_core::checking::{Explorer, explore, sync, thread};
}
