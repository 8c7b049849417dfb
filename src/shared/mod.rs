//! The same transactions between processes: cells that live in a file, or memory object, that several
//! processes map. (Linux, 64 bits.)
//!
//! ```
//! use contempo::shared::{Options, Shared};
//! # let path = std::env::temp_dir().join(format!("contempo-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_file(&path);
//!
//! let shared = Shared::create(&path, &Options::new())?; // another process: `Shared::open(&path)`
//! let alice = shared.root("alice", 100_u64)?;
//! let bob = shared.root("bob", 0_u64)?;
//! shared.atomically(|tx| {
//!     tx.write(alice, &(tx.read(alice)? - 30))?;
//!     tx.write(bob, &(tx.read(bob)? + 30))
//! })?;
//! let total = shared.snapshot(|view| Ok(view.read(alice)? + view.read(bob)?))?;
//! assert_eq!(total, 100);
//! # drop(shared);
//! # std::fs::remove_file(&path)?;
//! # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **A process may be killed at any instruction.** A transaction of its that was not decided has never
//! been; one that was is finished by the first transaction that meets it. No process waits for the dead, and what they
//! held is taken back: their slots, announcements and blocks. A process that is merely stopped keeps what is its
//! own; its undecided transaction may be aborted, and fails when it goes on.
//!
//! **Cells** ([`Cell`]) are handles of 16 bytes that mean the same in every process and may lie in values
//! themselves. What may be a value: plain data ([`bytemuck::Pod`], with [its derive](Value)), byte strings
//! (`Cell<[u8]>`) and strings (`Cell<str>`) of any length up to some 32 KiB. Cells are made and freed
//! explicitly, in transactions ([`Transaction::create`], [`Transaction::free`]). A cell of another region
//! is an error ([`TransactionError::OtherRegion`]), as is one that was freed; a `TVar` does not fit by
//! its type.
//!
//! **Errors.** Every operation in a transaction returns `Result<_, Interrupt>`: pass it on with `?`.
//! Conflicts are repeated; what is not a conflict comes out of [`Shared::atomically`] as a
//! [`TransactionError`]. Errors of your own leave by [`Shared::try_atomically`], or are caught in a part
//! ([`Transaction::nested`]) that is undone.
//!
//! **Waiting.** [`Transaction::retry`] sleeps until another process, or thread, changes a cell that was read;
//! [`Transaction::or_else`] and [`Transaction::first_of`] try something else first; bounds come from
//! [`Shared::builder`] and [`Transaction::retry_timeout`].
//!
//! **Effects** outside of cells belong into [`Transaction::on_commit`].
//!
//! **Contention** is met as in one process: [`Shared::atomically_on`] declares the cells of a transaction
//! that conflicts often, and [`Shared::configure`] has the settings of this process.
//! [`Shared::statistics`] counts what happens,
//! [`Shared::contention_report`] says where.
//!
//! **fork.** A child is not attached: what it tries with its parent's [`Shared`] fails with
//! [`TransactionError::Forked`], also in the middle of a transaction. It opens the region anew ([`Shared::reopen`]).
//!
//! **What is not there yet**, and known limits, are listed at the end of [`crate::guide`].

mod access_set;
mod block_on;
mod bounds;
mod cell;
pub mod collections;
pub mod dynamic;
mod error;
pub(crate) mod explicit;
mod future;
mod nesting;
mod operations;
mod reader;
mod region;
mod root;
mod scheduling;
mod scoped;
mod transaction;

pub use access_set::AccessSet;
pub use bounds::Builder;
pub use bytemuck;
pub use cell::{Cell, Value};
pub use contempo_core::Abort;
pub use contempo_core::region::recovered::Recovered;
pub use contempo_core::region::verify::{Problem, Report, Wrong};
pub use error::{Interrupt, NoBlock, OpenError, RootError, TransactionError, TryError, Unusable};
pub use reader::Reader;
pub use region::{Attached, Inspection, Options, Shared, liveness_path};
pub use root::{Root, RootKind};
pub use scoped::ScopedTransaction;
pub use transaction::{Snapshot, Transaction};
