//! For tests: a domain of its own, in which transactions have stopped in the middle of their commits, for
//! ever. Nothing here depends on a schedule: a thread that waits for one of them hangs.

use crate::domain::Domain;
use crate::layout::{CellHeader, VersionHeader};
use crate::local::domain::Native;
use crate::protocol::commit::{Commit, Committer, Conflict, WriteEntry};
use crate::protocol::read::newest_at;
use crate::protocol::version::Version;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::{Descriptor, ThreadDescriptor};
use contempo_sched::primitives::{AtomicPtr, Ordering};
use contempo_sched::words::{
    AtomicLockWord, LockWord, Owner, Phase, Rank, Reservation, StateWord, TurnPhase, VersionTag,
};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};

/// What a cell holds at first, and what is written over it by a transaction that has stopped, and by one
/// that has not.
pub(crate) const OLD: u64 = 1;
pub(crate) const THEIRS: u64 = 2;
pub(crate) const OURS: u64 = 3;

/// How far a transaction has come that has stopped with one cell claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopped {
    /// It claims: no stamp is drawn.
    Active,
    /// It was about to draw its stamp.
    Deciding,
    /// It has drawn its stamp.
    Drawn,
    /// Then it was bumped.
    Bumped,
    /// It has forbidden bumps, and drawn its stamp.
    Firm,
    /// It has decided, and not put its stamp into the cell yet.
    Committed,
    /// It was aborted, and has not given the cell back yet.
    Aborted,
}

impl Stopped {
    pub(crate) const ALL: [Stopped; 7] = [
        Stopped::Active,
        Stopped::Deciding,
        Stopped::Drawn,
        Stopped::Bumped,
        Stopped::Firm,
        Stopped::Committed,
        Stopped::Aborted,
    ];

    /// Has it decided?
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Stopped::Committed | Stopped::Aborted)
    }

    pub(crate) fn state(self, serial: u64) -> StateWord {
        let deciding = StateWord::new(serial, Phase::Deciding);
        match self {
            Stopped::Active => StateWord::new(serial, Phase::Active),
            Stopped::Deciding | Stopped::Drawn => deciding,
            Stopped::Bumped => deciding.bumped(),
            Stopped::Firm => deciding.firm(),
            Stopped::Committed => StateWord::new(serial, Phase::Committed),
            Stopped::Aborted => StateWord::new(serial, Phase::Aborted),
        }
    }
}

/// A version that lives as long as the process: reclamation is tested elsewhere.
pub(crate) fn version(version_tag: VersionTag, value: u64) -> *mut VersionHeader<Native> {
    let block =
        NonNull::from(Box::leak(Box::new(MaybeUninit::<Version<u64, Native>>::uninit()))).cast();
    // SAFETY: just allocated, with this layout.
    unsafe { Version::<u64, Native>::init(block, version_tag, value) }
}

/// A cell that holds [`OLD`], at the clock of now.
pub(crate) fn cell(domain: &Native) -> CellHeader<Native> {
    let old = version(VersionTag::committed(domain.clock().now()), OLD);
    CellHeader { value: AtomicPtr::new(old), lock: AtomicLockWord::new(LockWord::FREE) }
}

/// One thread of a domain.
pub(crate) struct Thread<'a> {
    pub(crate) domain: &'a Native,
    pub(crate) slot: u32,
}

impl<'a> Thread<'a> {
    pub(crate) fn new(domain: &'a Native) -> Self {
        Thread { domain, slot: domain.table().take().expect("a free slot").0 }
    }

    pub(crate) fn descriptor(&self) -> &'a ThreadDescriptor {
        self.domain.table().get(self.slot)
    }

    /// The transaction that it makes next.
    fn next(&self) -> Owner {
        let serial = self.descriptor().state.load(Ordering::Relaxed).serial();
        Owner { slot: self.slot, serial: StateWord::next_serial(serial) }
    }

    /// Escalates, with this rank.
    pub(crate) fn escalate(&self, rank: u64) -> Reservation {
        self.descriptor().rank.store(rank, Ordering::Relaxed);
        let turn = self.descriptor().next_turn(TurnPhase::Escalating);
        Reservation { slot: self.slot, ticket: turn.ticket() }
    }

    /// Claims `cell`, to write [`THEIRS`], and stops. Returns its state word.
    pub(crate) fn stop(&self, at: Stopped, cell: &CellHeader<Native>) -> StateWord {
        self.stop_with(at, cell, version(VersionTag::committed(0), THEIRS))
    }

    /// The same, with this version.
    fn stop_with(
        &self,
        at: Stopped,
        cell: &CellHeader<Native>,
        claim: *mut VersionHeader<Native>,
    ) -> StateWord {
        let owner = self.next();
        let state = at.state(owner.serial);
        self.descriptor().state.store(state, Ordering::Release);
        // SAFETY: the version was made for this cell and is not in it yet: alive, and private.
        let header = unsafe { &*claim };
        header.version_tag.store(VersionTag::claim(owner), Ordering::Relaxed);
        header.prev.store(cell.value.load(Ordering::Acquire), Ordering::Relaxed);
        cell.value.store(claim, Ordering::SeqCst);
        if !matches!(at, Stopped::Active | Stopped::Deciding) {
            let stamp = self.domain.clock().draw(1);
            self.descriptor().stamp.store(stamp, Ordering::Release);
        }
        state
    }

    pub(crate) fn commit(&self, failures: u32) -> Commit<Native, Attempt<'_>> {
        let (me, bound) = (self.next(), self.domain.clock().now());
        Commit { by: Attempt { thread: self, me, bound, failures }, expected: null_mut() }
    }

    /// Makes [`OURS`] the value of `cell`, in a transaction that has failed so often before.
    pub(crate) fn write(
        &self,
        cell: &CellHeader<Native>,
        failures: u32,
    ) -> Result<u64, Conflict<Native>> {
        let commit = self.commit(failures);
        let new = version(VersionTag::claim(commit.by.me), OURS);
        let kind = Version::<u64, Native>::KIND;
        let mut writes = [WriteEntry { cell, version: new, base: null_mut(), kind }];
        // SAFETY: all versions live for ever, and the new one is private.
        unsafe { commit.run(&[], &mut writes, &mut |_, _, _: &_| (), |_| ()) }
    }

    /// The value of `cell` at `bound`.
    pub(crate) fn read_at(&self, cell: &CellHeader<Native>, bound: u64) -> u64 {
        let own = VersionTag::claim(self.next());
        // SAFETY: all versions live for ever, and are of this type.
        unsafe { *Version::<u64, Native>::value(newest_at(self.domain, cell, bound, own).version) }
    }

    /// The value of `cell`.
    pub(crate) fn read(&self, cell: &CellHeader<Native>) -> u64 {
        self.read_at(cell, self.domain.clock().now())
    }
}

/// An attempt of a thread to commit.
pub(crate) struct Attempt<'t> {
    thread: &'t Thread<'t>,
    pub(crate) me: Owner,
    bound: u64,
    failures: u32,
}

// SAFETY: the descriptor of its thread, which tests use alone. No version is taken out of a chain here, so no bound has to be
// published.
unsafe impl Committer<Native> for Attempt<'_> {
    fn domain(&self) -> &Native {
        self.thread.domain
    }

    fn descriptor(&self) -> &Descriptor {
        self.thread.descriptor()
    }

    fn me(&self) -> Owner {
        self.me
    }

    fn bound(&self) -> u64 {
        self.bound
    }

    fn is_asymmetric(&self) -> bool {
        false
    }

    fn failures(&self) -> u32 {
        self.failures
    }
}

impl Drop for Thread<'_> {
    /// It is over: the next thread with this slot starts afresh.
    fn drop(&mut self) {
        let state = self.descriptor().state.load(Ordering::Relaxed);
        if !state.is_final() {
            self.descriptor().abort_from_outside(state);
        }
        self.descriptor().end_turn();
        self.descriptor().rank.store(Rank::NONE, Ordering::Relaxed);
        self.domain.table().give_back(self.slot);
    }
}

mod tests {
    //! Whole transactions on cells of this process.

    use super::*;
    use crate::local::context;
    use crate::local::process::native;
    use crate::{Settings, TVar, atomically, atomically_on, configure, snapshot};
    use std::sync::mpsc;
    use std::time::Duration;

    /// Runs `f` on another thread. What hangs is left behind.
    fn guarded<R: Send + 'static>(what: String, f: impl FnOnce() -> R + Send + 'static) -> R {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(f()));
        receiver
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// What one does with a cell: what it sees there, if it looks, and what that adds to the value.
    type Operation = (&'static str, u64, fn(&TVar<u64>) -> Option<u64>);

    const OPERATIONS: [Operation; 7] = [
        ("load", 0, |cell| Some(cell.load())),
        ("snapshot", 0, |cell| Some(snapshot(|view| *view.read(cell)))),
        ("read", 0, |cell| Some(atomically(|tx| tx.read(cell).copied()))),
        ("read, write another", 0, |cell| {
            let other = TVar::new(0);
            atomically(|tx| {
                let seen = *tx.read(cell)?;
                tx.write(&other, seen)
            });
            Some(other.load())
        }),
        ("update", 10, |cell| {
            cell.update(|n| n + 10);
            None
        }),
        ("modify", 10, |cell| {
            atomically(|tx| tx.modify(cell, |n| n + 10));
            None
        }),
        ("modify, declared", 10, |cell| {
            atomically_on(cell, |tx| tx.modify(cell, |n| n + 10));
            None
        }),
    ];

    #[test]
    fn a_thread_that_has_stopped_while_it_commits_stops_no_other() {
        let mut settings = Settings::default();
        settings.escalate_after = Duration::ZERO; // Whoever has failed escalates.
        configure(settings).expect("in range");
        for at in Stopped::ALL {
            for (name, adds, operation) in OPERATIONS {
                let case = format!("{name}, {at:?}");
                let cell = TVar::new(OLD);
                let stopped = Thread::new(native());
                // Of the heap, since others may retire it.
                let theirs = context::with(|context| {
                    context.reclaimer.blocks.allocate(Version::<u64, Native>::KIND.shape)
                });
                // SAFETY: just allocated for this shape.
                let theirs = unsafe {
                    Version::<u64, Native>::init(theirs, VersionTag::committed(0), THEIRS)
                };
                let state = stopped.stop_with(at, cell.header(), theirs);
                let before = if at == Stopped::Committed { THEIRS } else { OLD };
                let shared = cell.clone();
                let seen = guarded(case.clone(), move || operation(&shared));
                assert_eq!(seen, (adds == 0).then_some(before), "{case}");
                assert_eq!(cell.load(), before + adds, "{case}");
                let now = stopped.descriptor().state.load(Ordering::Relaxed);
                if at.is_final() {
                    assert_eq!(now, state, "{case}");
                } else if adds > 0 {
                    assert_eq!(now, state.with_phase(Phase::Aborted), "{case}");
                }
                // The claim may be in it for ever, which no cell expects that goes.
                std::mem::forget(cell);
            }
        }
    }
}
