//! Commits by hand, on cells of a domain of their own whose versions live as long as the process.
//! (Reclamation is modelled elsewhere.)

use contempo_core::domain::Domain;
use contempo_core::local::domain::{Native, ProcessClock};
use contempo_core::protocol::commit::{Commit, Committer, Conflict, ReadEntry, WriteEntry};
use contempo_core::protocol::read::newest_at;
use contempo_core::protocol::version::{CellHeader, Version, VersionHeader};
use contempo_sched::clock::{Clock, GENESIS};
use contempo_sched::descriptor::{Descriptor, ThreadDescriptor};
use contempo_sched::primitives::{AtomicPtr, Ordering};
use contempo_sched::words::{AtomicLockWord, LockWord, Owner, StateWord, VersionTag};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};

pub(crate) type Header = VersionHeader<Native>;

/// A version that lives as long as the process.
pub(crate) fn version(version_tag: VersionTag, value: u64) -> *mut Header {
    let block =
        NonNull::from(Box::leak(Box::new(MaybeUninit::<Version<u64, Native>>::uninit()))).cast();
    // SAFETY: just allocated, with this layout.
    unsafe { Version::<u64, Native>::init(block, version_tag, value) }
}

/// A cell with a first version.
pub(crate) fn cell(first: *mut Header) -> CellHeader<Native> {
    CellHeader { value: AtomicPtr::new(first), lock: AtomicLockWord::new(LockWord::FREE) }
}

/// The value of `cell` at `bound`.
pub(crate) fn value_at(domain: &Native, cell: &CellHeader<Native>, bound: u64) -> u64 {
    let no_claim = VersionTag::committed(0);
    // SAFETY: all versions live for ever, and are of this type.
    unsafe { *Version::<u64, Native>::value(newest_at(domain, cell, bound, no_claim).version) }
}

/// One thread's commits.
pub(crate) struct Writer<'w> {
    domain: &'w Native,
    slot: u32,
    serial: Cell<u64>,
    /// The newest stamp that it knows.
    known: Cell<u64>,
    /// How often its transactions count as having failed before: `u32::MAX` takes over what is in the way.
    pub(crate) failures: u32,
}

impl<'w> Writer<'w> {
    /// The thread at `slot`, which has made no commit yet.
    pub(crate) fn new(domain: &'w Native, slot: u32) -> Self {
        Writer {
            domain,
            slot,
            serial: Cell::new(0),
            known: Cell::new(ProcessClock::end_of(GENESIS)),
            failures: 0,
        }
    }

    fn descriptor(&self) -> &'w ThreadDescriptor {
        self.domain.table().get(self.slot)
    }

    /// Commits these values, provided that these versions are still the newest of their cells. The stamp.
    pub(crate) fn commit(
        &self,
        reads: &[(&CellHeader<Native>, *mut Header)],
        writes: &[(&CellHeader<Native>, u64)],
    ) -> Result<u64, Conflict<Native>> {
        self.serial.set(StateWord::next_serial(self.serial.get()));
        let me = Committer::<Native>::me(&self);
        let (claim, kind) = (VersionTag::claim(me), Version::<u64, Native>::KIND);
        let reads: Vec<ReadEntry<Native>> =
            reads.iter().map(|&(cell, version)| ReadEntry { cell, version }).collect();
        let mut writes: Vec<WriteEntry<Native>> = writes
            .iter()
            .map(|&(cell, value)| {
                let version = version(claim, value);
                WriteEntry { cell, version, base: null_mut(), kind }
            })
            .collect();
        let commit = Commit { by: self, expected: null_mut() };
        // SAFETY: cells and versions outlive this, and the new ones carry the claim.
        let outcome = unsafe {
            commit.run(&reads, &mut writes, &mut |_, _, _: &_| (), |cell| {
                self.domain.changed(self.descriptor(), me.slot, cell).wake();
            })
        };
        outcome.inspect(|stamp| self.known.set(*stamp))
    }

    /// Commits these values, in at most ten attempts. The stamp.
    pub(crate) fn commit_at_last(&self, writes: &[(&CellHeader<Native>, u64)]) -> u64 {
        let stamp = (0..10).find_map(|_| self.commit(&[], writes).ok());
        stamp.expect("nothing that lasts stands in its way")
    }
}

// SAFETY: the descriptor of its slot, and the serial of the commit that it makes. No version is taken out of a chain here, so
// no bound has to be published.
unsafe impl Committer<Native> for &Writer<'_> {
    fn domain(&self) -> &Native {
        self.domain
    }

    fn descriptor(&self) -> &Descriptor {
        Writer::descriptor(self)
    }

    fn me(&self) -> Owner {
        Owner { slot: self.slot, serial: self.serial.get() }
    }

    /// Above what it knows, and below what it draws: so it always validates. (Heads that it does not know are claimed the
    /// slow way, which looks at the clock; and loom forgets the look of another thread for that.)
    fn bound(&self) -> u64 {
        self.known.get() + 1
    }

    fn is_asymmetric(&self) -> bool {
        false
    }

    fn failures(&self) -> u32 {
        self.failures
    }
}

/// The stamps and values of `cell`, the newest first. For the end of a model: no claim may be left.
pub(crate) fn history(domain: &Native, cell: &CellHeader<Native>) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = contempo_core::domain::Link::load(&cell.value, domain, Ordering::SeqCst);
    while !at.is_null() {
        // SAFETY: all versions live for ever, and are of this type.
        let (header, value) = unsafe { (&*at, *Version::<u64, Native>::value(at)) };
        let stamp = header.version_tag.load(Ordering::SeqCst).stamp();
        found.push((stamp.expect("a claim is left that no thread will finish"), value));
        at = header.prev.load(Ordering::SeqCst);
    }
    assert!(found.is_sorted_by(|newer, older| newer.0 > older.0), "not in order: {found:?}");
    found
}
