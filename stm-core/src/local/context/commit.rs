//! How a thread of one process commits.

use super::Context;
use crate::domain::Domain;
use crate::layout::{CellHeader, VersionHeader};
use crate::local::cell::has_handles;
use crate::local::chain::NativeChain;
use crate::local::domain::{Native, ProcessClock};
use crate::protocol::commit::{Commit, Committer, Conflict, ReadEntry, Replaces, WriteEntry};
use contempo_alloc::reclaim::interface::{Reclaim, Retiring};
use contempo_alloc::reclaim::reclaimer::Reclaimer;
use contempo_alloc::reclaim::retired::Block;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::Step;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::words::Owner;
use std::ptr::null_mut;

impl Context {
    #[inline(always)]
    pub(crate) fn commit_of(&self, expected: *mut VersionHeader<Native>) -> Commit<Native, &Self> {
        Commit { by: self, expected }
    }

    /// Commits the running attempt. Versions that other threads could see and that did not commit are
    /// retired; those that no other thread saw stay in the log.
    #[inline(always)]
    pub(crate) fn commit(&self) -> Result<(), Cause> {
        debug_assert!(self.is_running() && self.interrupted.get().is_none(), "it may not commit");
        debug_assert_eq!(self.writes().part(), 0, "a commit inside a part of its transaction");
        if self.writes().is_empty() {
            self.wrote.set(false);
            self.descriptor.counters.read_only.add(1);
            return Ok(());
        }
        self.commit_log()
    }

    /// The same, if it has written. (Out of line: a commit needs all registers, and so does the user's code.)
    #[inline(never)]
    fn commit_log(&self) -> Result<(), Cause> {
        let writes = self.writes();
        self.step(Step::Commit);
        self.commit_writes::<false>(self.reads(), writes.entries(), null_mut()).map_err(
            |conflict| {
                for write in writes.entries().iter().filter(|write| !write.base.is_null()) {
                    // SAFETY: inside the transaction whose log this is.
                    let out = |write: &WriteEntry<_>| unsafe { write.is_given_back(self.domain) };
                    debug_assert!(out(write), "retired, and in its cell");
                    // SAFETY: given back: no longer in its cell.
                    unsafe { self.reclaimer.retire_now(write.version_block()) };
                }
                let cause = conflict.cause;
                self.turns.note(conflict);
                cause
            },
        )
    }

    /// Commits these writes, provided that these reads still hold, and that what they replace is
    /// `expected` (unless null). What they replaced is retired. `ONE`: there is one write.
    #[inline(always)]
    pub(crate) fn commit_writes<const ONE: bool>(
        &self,
        reads: &[ReadEntry<Native>],
        writes: &mut [WriteEntry<Native>],
        expected: *mut VersionHeader<Native>,
    ) -> Result<(), Conflict<Native>> {
        let commit = self.commit_of(expected);
        // SAFETY: we are inside the transaction that found the cells and versions; the new
        // versions carry its claim. While it runs it asks nothing else of the reclaimer: no code of users runs, and what
        // has failed is retired after that.
        let outcome = unsafe {
            if ONE {
                let mut one = RetiresOne(&self.reclaimer);
                commit.run(reads, writes, &mut one, |cell| self.changed(cell))
            } else {
                let most = if planted(Fault::RetiredTwice) { 2 } else { 1 } * writes.len();
                let mut all = RetiresAll(self.reclaimer.retiring(most));
                let outcome = commit.run(reads, writes, &mut all, |cell| self.changed(cell));
                all.0.end();
                outcome
            }
        };
        // A new serial, also after a failure: other threads may have met our claims, and look at our state word later.
        let stamp = match outcome {
            Ok(stamp) => stamp,
            Err(conflict) => {
                if !planted(Fault::SerialKeptAfterFailure) {
                    self.next_serial();
                }
                return Err(conflict);
            }
        };
        self.next_serial();
        self.reclaimer.has_drawn(stamp);
        self.wrote.set(true);
        self.descriptor.counters.commits.add(1);
        self.descriptor.counters.retired.add(writes.len() as u64);
        Ok(())
    }

    /// This thread's commit has changed `cell`, and something sleeps until that.
    fn changed(&self, cell: &CellHeader<Native>) {
        let tasks = self.domain.changed(self.descriptor, self.slot, cell);
        if planted(Fault::WokenInsideTheTransaction) {
            tasks.wake();
        } else {
            self.wake_later(tasks);
        }
    }
}

/// Retires what a commit replaces.
struct RetiresAll<R>(R);

impl<R: Retiring<Block = Block>> Replaces<Native> for RetiresAll<R> {
    #[inline(always)]
    fn replaced(&mut self, stamp: u64, base: Block, write: &WriteEntry<Native>) {
        // SAFETY: replaced by this commit at its final stamp, by us alone, and committed by us; one for each write, as was
        // said (`commit_writes`).
        unsafe { self.0.retire(stamp, base, to_be_followed(write)) };
    }
}

/// Retires what a commit replaces, which is one version.
struct RetiresOne<'r>(&'r Reclaimer<ProcessClock, NativeChain>);

impl Replaces<Native> for RetiresOne<'_> {
    #[inline(always)]
    fn replaced(&mut self, stamp: u64, base: Block, write: &WriteEntry<Native>) {
        // SAFETY: replaced by this commit at its final stamp, by us alone, and committed by us.
        unsafe { self.0.retire(stamp, base, to_be_followed(write)) };
    }
}

/// The version that has replaced another, by a commit whose transaction still runs; null if it is not to be followed. A
/// cell that had no handle any more when the stamp was drawn may have been retired before that, and its newest version goes
/// with it.
#[inline(always)]
fn to_be_followed(write: &WriteEntry<Native>) -> *mut u8 {
    // SAFETY: inside the transaction that has the cell in its log, so it is alive; every cell of a transaction is one with
    // handles.
    if unsafe { has_handles(write.cell) } { write.version.cast() } else { null_mut() }
}

// SAFETY: its own descriptor, and what its running attempt has; `commit_of` is for an attempt of a session.
unsafe impl Committer<Native> for &Context {
    #[inline(always)]
    fn domain(&self) -> &Native {
        self.domain
    }

    #[inline(always)]
    fn descriptor(&self) -> &Descriptor {
        self.descriptor
    }

    #[inline(always)]
    fn me(&self) -> Owner {
        Owner { slot: self.slot, serial: self.claim.get().claim_serial() }
    }

    #[inline(always)]
    fn bound(&self) -> u64 {
        self.bound.get()
    }

    #[inline(always)]
    fn is_asymmetric(&self) -> bool {
        self.reclaimer.is_asymmetric()
    }

    #[inline(always)]
    fn failures(&self) -> u32 {
        self.turns.failures()
    }

    #[inline(always)]
    fn draw(&self, weight: u64, again: bool) -> u64 {
        self.domain.clock().draw_by(&self.drawer, self.bound.get(), weight, again)
    }
}
