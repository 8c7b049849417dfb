//! One thread's transactions in a region: logs, attempts, commit.
//!
//! This is the region's simple form of what `context` and `turns` do in one process: conflicting
//! transactions back off at random, longer and longer; whoever has lost often reserves what it needs
//! (`press`), and takes a claim over that stands in its way. There are no queues.

use crate::commit::{Commit, ReadEntry, WriteEntry};
use crate::domain::Domain;
use crate::observe::{Standing, newest_at, standing};
use crate::region::block::{DISPLACED, FREES_CELL, RegionCell, RegionVersion};
use crate::region::domain::RegionDomain;
use crate::region::memory::Memory;
use crate::region::press::Press;
use crate::version::{CellHeader, VersionHeader};
use crate::write_log::WriteLog;
use contempo_alloc::announcement;
use contempo_alloc::heap::Shape;
use contempo_alloc::region::error::NoBlock;
use contempo_alloc::region::handle::{Handle, Meta};
use contempo_alloc::retired::BlockKind;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::statistics::Cause;
use contempo_sched::table::Descriptors;
use contempo_sched::word::{Owner, Phase, Reservation, StateWord, WhoWhen};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::cell::{Cell, RefCell};
use std::ptr::null_mut;

mod run;

pub(crate) use run::Running;

/// An attempt cannot go on; the session knows why.
#[derive(Debug)]
pub struct Interrupted;

/// Why a transaction has ended without a commit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stopped {
    /// Another transaction was in the way: once more.
    Conflict(Cause),
    /// It waits for a change.
    Retry,
    /// Its closure has cancelled it.
    Cancelled,
    /// The handle names no cell, or one that was freed.
    NoSuchCell,
    /// The cell belongs to another region.
    OtherRegion,
    /// The cell's value has another size than the type that was asked for.
    OtherSize {
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that the value has.
        found: usize,
    },
    /// The value is not text.
    NotText,
    /// There was no block for a value.
    NoBlock(NoBlock),
    /// This process is a forked child, and has not attached itself.
    Forked,
    /// The region holds something that no protocol writes.
    Corrupt,
}

/// Versions in a region are freed by their meta words; this is for the protocol's bookkeeping.
static KIND: BlockKind = BlockKind { shape: Shape::NOT_OURS, destroy: None, in_static: None };

/// Looks at a cell's head after which no protocol is thought to be at work there.
const MOST_LOOKS: u32 = 1 << 18;

/// No clock comes to this in a thousand years.
const LAST_STAMP: u64 = 1 << 62;

type Header = VersionHeader<RegionDomain>;

/// One thread's transactions in one region.
pub struct Session {
    domain: *const RegionDomain,
    pub(crate) slot: u32,
    /// What the thread's blocks come from and go to.
    pub memory: Memory,
    serial: Cell<u64>,
    bound: Cell<u64>,
    /// What a fast read compares with: `bound`, or 0 once the attempt is interrupted.
    fast_bound: Cell<u64>,
    recent: Cell<u64>,
    running: Cell<bool>,
    stale: Cell<bool>,
    /// Has the attempt written to a cell?
    wrote: Cell<bool>,
    updating: Cell<bool>,
    failures: Cell<u32>,
    random: RefCell<SmallRng>,
    stopped: RefCell<Option<Stopped>>,
    /// Whose reservation the last attempt to commit has given way to.
    gave_way_to: Cell<Option<Reservation>>,
    pub(crate) press: Press,
    pub(crate) reads: RefCell<Vec<ReadEntry<RegionDomain>>>,
    pub(crate) writes: RefCell<WriteLog<RegionDomain>>,
    /// Cells that the attempt has made, with their first versions.
    created: RefCell<Vec<(*mut u8, *mut u8)>>,
    /// Cells that go if it commits.
    freed: RefCell<Vec<*const RegionCell>>,
}

// SAFETY: a session is used by one thread at a time (it is not `Sync`); its pointers lead into the
// region, which every thread maps.
unsafe impl Send for Session {}

impl Session {
    /// The session of the thread that has taken `slot`.
    ///
    /// # Safety
    /// `domain` outlives the session, and this process has taken the slot.
    pub(crate) unsafe fn new(domain: &RegionDomain, slot: u32) -> Self {
        let descriptor = domain.table().descriptor(slot);
        // Acquire, partner: the slot's last owner, or who has cleared up after it.
        let serial = descriptor.state.load(Ordering::Acquire).serial();
        Session {
            domain,
            slot,
            memory: Memory::new(domain, slot),
            serial: Cell::new(StateWord::next_serial(serial)),
            bound: Cell::new(0),
            fast_bound: Cell::new(0),
            recent: Cell::new(0),
            running: Cell::new(false),
            stale: Cell::new(false),
            wrote: Cell::new(false),
            updating: Cell::new(false),
            failures: Cell::new(0),
            random: RefCell::new(SmallRng::seed_from_u64(u64::from(slot))),
            stopped: RefCell::new(None),
            gave_way_to: Cell::new(None),
            press: Press::default(),
            reads: RefCell::new(Vec::new()),
            writes: RefCell::new(WriteLog::new()),
            created: RefCell::new(Vec::new()),
            freed: RefCell::new(Vec::new()),
        }
    }

    /// The slot's last owner was cleared up after, and its serial moved on: goes on from there.
    pub(crate) fn renew_serial(&self) {
        let serial = self.descriptor().state.load(Ordering::Acquire).serial();
        self.serial.set(StateWord::next_serial(serial));
    }

    /// The stamp that the running attempt or snapshot reads at.
    pub fn reads_at(&self) -> u64 {
        self.bound.get()
    }

    /// The region.
    #[inline(always)]
    pub fn domain(&self) -> &RegionDomain {
        // SAFETY: it outlives us (`new`).
        unsafe { &*self.domain }
    }

    pub(crate) fn descriptor(&self) -> &Descriptor {
        self.domain().table().descriptor(self.slot)
    }

    /// Is the thread inside a transaction or snapshot?
    pub fn is_running(&self) -> bool {
        self.running.get()
    }

    fn me(&self) -> Owner {
        Owner { slot: self.slot, serial: self.serial.get() }
    }

    /// Enters a transaction or snapshot.
    ///
    /// # Panics
    /// If this thread is inside one of the same region already.
    pub(crate) fn enter(&self) -> Result<Running<'_>, Stopped> {
        if self.domain().fork.is_child() {
            return Err(Stopped::Forked);
        }
        if self.domain().is_corrupt() {
            return Err(Stopped::Corrupt);
        }
        assert!(
            !self.running.replace(true),
            "contempo: `atomically` or `snapshot` of a shared region was called inside a transaction \
             of the same region on the same thread. Pass the handle of the outer one on instead"
        );
        Ok(Running::new(self))
    }

    pub(crate) fn begin(&self) {
        let domain = self.domain();
        let bound =
            announcement::begin(self.descriptor(), domain.clock(), domain.asymmetric, &self.recent);
        if bound > LAST_STAMP {
            domain.note_corrupt();
        }
        self.bound.set(bound);
        self.fast_bound.set(bound);
        self.stale.set(false);
        self.wrote.set(false);
    }

    /// Interrupts the attempt.
    #[cold]
    pub fn interrupt(&self, why: Stopped) -> Interrupted {
        self.stopped.borrow_mut().get_or_insert(why);
        self.fast_bound.set(0);
        Interrupted
    }

    fn is_open(&self) -> bool {
        self.fast_bound.get() != 0
    }

    fn check_open(&self) -> Result<(), Interrupted> {
        if self.is_open() { Ok(()) } else { Err(Interrupted) }
    }

    /// The cell that a handle names.
    ///
    /// # Errors
    /// If there is none.
    #[inline(always)]
    fn cell(&self, cell: Handle) -> Result<&RegionCell, Interrupted> {
        self.domain().find_cell(cell).ok_or_else(|| self.interrupt(Stopped::NoSuchCell))
    }

    /// The version of `cell` that this transaction sees. It may be one that ends the cell ([`FREES_CELL`]).
    ///
    /// # Errors
    /// If the attempt cannot go on.
    #[inline(always)]
    pub fn see(&self, cell: Handle) -> Result<&RegionVersion, Interrupted> {
        let version = self.version(cell)?;
        // SAFETY: given out by a link, or made by us.
        Ok(unsafe { RegionVersion::of(version) })
    }

    /// The version of `cell` that this transaction sees.
    ///
    /// # Errors
    /// If the attempt cannot go on, or the cell was freed.
    pub fn read(&self, cell: Handle) -> Result<&RegionVersion, Interrupted> {
        let version = self.see(cell)?;
        if version.has(FREES_CELL) {
            return Err(self.interrupt(Stopped::NoSuchCell));
        }
        Ok(version)
    }

    #[inline(always)]
    fn version(&self, cell: Handle) -> Result<*mut Header, Interrupted> {
        if self.wrote.get()
            && let Some(own) = self.own_version(&self.cell(cell)?.header)
        {
            self.check_open()?;
            return Ok(own);
        }
        if let Some((cell, version)) = self.domain().lens().newest_in(cell, self.fast_bound.get()) {
            let version = RegionVersion::header_at(std::ptr::from_ref(version).cast_mut().cast());
            self.reads.borrow_mut().push(ReadEntry { cell: &raw const cell.header, version });
            return Ok(version);
        }
        self.version_slow(self.cell(cell)?, cell)
    }

    /// Makes sure that the cell was alive after this attempt's announcement, so that neither it nor what it
    /// leads to is freed before the attempt ends; or that it is gone. To have decoded its handle is not
    /// enough: it may be of those that are freed just now.
    ///
    /// # Errors
    /// [`Stopped::NoSuchCell`] if it is gone, [`Stopped::Corrupt`] if nobody leaves a cell like that.
    pub(crate) fn meet(&self, cell: &RegionCell, handle: Handle) -> Result<(), Stopped> {
        let domain = self.domain();
        let mut looks = 0;
        loop {
            looks += 1;
            if looks > MOST_LOOKS {
                domain.note_corrupt();
                return Err(Stopped::Corrupt);
            }
            // Acquire, partner: the claim that published the version.
            let head = cell.header.value.handle(Ordering::Acquire);
            let found = domain.find_version(head).map(|version| {
                let who_when = version.header.who_when.load(Ordering::Acquire);
                (version, who_when, version.has(FREES_CELL))
            });
            // What was read above was read before what follows. Pairs with the fence in `SlotHeap::free`:
            // had we seen what the next user of a block has put there, we would see it freed, too.
            fence(Ordering::Acquire);
            // Acquire, partner: the swap that retires it: whatever has ended the cell shows.
            let meta = Meta::from_bits(cell.meta.load(Ordering::Acquire));
            if !handle.fits(meta) {
                return Err(Stopped::NoSuchCell);
            }
            let fits = |version: &RegionVersion| {
                head.fits(Meta::from_bits(version.meta.load(Ordering::Relaxed)))
            };
            match found.filter(|(version, ..)| fits(version)) {
                Some((_, who_when, true)) => match who_when.owner() {
                    // Freed at a stamp that we read at: by now all of it may be gone.
                    None if who_when.committed_by(self.bound.get()) => {
                        return Err(Stopped::NoSuchCell);
                    }
                    None => return Ok(()),
                    Some(owner) if owner == self.me() => return Ok(()),
                    Some(owner) => match standing(domain, owner, self.bound.get()) {
                        Standing::Committed(stamp) if stamp <= self.bound.get() => {
                            return Err(Stopped::NoSuchCell);
                        }
                        Standing::Committed(_) | Standing::Later => return Ok(()),
                        Standing::Gone => {}
                    },
                },
                // It was not retired when we had announced ourselves already.
                Some(_) if meta.retirer().is_none() => return Ok(()),
                // Retired, and not by a commit that freed it, which would show now: whoever made it has not
                // committed. Or it is being destroyed.
                _ if meta.retirer().is_some() => {
                    if cell.header.value.handle(Ordering::Acquire) == head {
                        return Err(Stopped::NoSuchCell);
                    }
                }
                // The head of a cell in use is not freed.
                _ => {
                    if cell.header.value.handle(Ordering::Acquire) == head {
                        domain.note_corrupt();
                        return Err(Stopped::Corrupt);
                    }
                }
            }
        }
    }

    /// What this attempt has written to the cell, if it has.
    fn own_version(&self, cell: &CellHeader<RegionDomain>) -> Option<*mut Header> {
        let writes = self.writes.borrow();
        writes.find(cell).map(|entry| writes.version(entry))
    }

    #[cold]
    #[inline(never)]
    fn version_slow(&self, cell: &RegionCell, handle: Handle) -> Result<*mut Header, Interrupted> {
        self.check_open()?;
        self.meet(cell, handle).map_err(|why| self.interrupt(why))?;
        let cell = &cell.header;
        loop {
            let own = WhoWhen::claim(self.me());
            // SAFETY: inside an attempt with this bound; the cell was alive then (`meet`).
            let found = unsafe { newest_at(self.domain(), cell, self.bound.get(), own) };
            if self.domain().is_corrupt() {
                return Err(self.interrupt(Stopped::Corrupt));
            }
            if found.superseded {
                if self.updating.get() {
                    if !self.extend() {
                        return Err(self.interrupt(Stopped::Conflict(Cause::Changed)));
                    }
                    continue;
                }
                self.stale.set(true);
            }
            self.reads.borrow_mut().push(ReadEntry { cell, version: found.version });
            return Ok(found.version);
        }
    }

    /// The version of `cell` at the moment of a snapshot. It may be one that ends the cell ([`FREES_CELL`]).
    ///
    /// # Errors
    /// If there is no such cell.
    #[inline(always)]
    pub fn look(&self, cell: Handle) -> Result<&RegionVersion, Interrupted> {
        let domain = self.domain();
        let found = self.cell(cell)?;
        self.meet(found, cell).map_err(|why| self.interrupt(why))?;
        let own = WhoWhen::claim(self.me()); // Never published: no claim is ours.
        // SAFETY: inside a snapshot with this bound; the cell was alive then (`meet`).
        let version = unsafe { newest_at(domain, &found.header, self.bound.get(), own) }.version;
        // SAFETY: given out by a link.
        Ok(unsafe { RegionVersion::of(version) })
    }

    fn extend(&self) -> bool {
        let bound = self.domain().clock().now();
        // SAFETY: inside the transaction that filled the log.
        let valid = unsafe { self.commit_of().validate(&self.reads.borrow(), bound) };
        if valid.is_ok() {
            self.bound.set(bound);
            self.fast_bound.set(bound);
        }
        valid.is_ok()
    }

    pub(crate) fn commit_of(&self) -> Commit<'_, RegionDomain> {
        Commit {
            domain: self.domain(),
            descriptor: self.descriptor(),
            me: self.me(),
            bound: self.bound.get(),
            failures: self.failures.get(),
            expected: null_mut(),
        }
    }

    /// Before anything of a transaction is written to the region.
    fn before_write(&self) -> Result<(), Interrupted> {
        self.check_open()?;
        if self.domain().fork.is_child() {
            return Err(self.interrupt(Stopped::Forked));
        }
        if self.stale.get() {
            self.updating.set(true);
            return Err(self.interrupt(Stopped::Conflict(Cause::Changed)));
        }
        self.updating.set(true);
        Ok(())
    }

    /// Makes `data` the value of `cell`.
    ///
    /// # Errors
    /// If the attempt cannot go on.
    #[inline]
    pub fn write(&self, cell: Handle, data: &[u8]) -> Result<(), Interrupted> {
        // Read first, so that a cell that was freed meanwhile shows, here or at the commit. Mostly that
        // has just been done.
        let header = &self.cell(cell)?.header;
        let last = self.reads.borrow().last().map(|read| (read.cell, read.version));
        match last {
            Some((read, version))
                if std::ptr::eq(read, header)
                    && self.is_open()
                    && self.freed.borrow().is_empty() =>
            {
                // SAFETY: read by this attempt.
                if unsafe { RegionVersion::of(version) }.has(FREES_CELL) {
                    return Err(self.interrupt(Stopped::NoSuchCell));
                }
            }
            _ => {
                self.read(cell)?;
            }
        }
        self.before_write()?;
        self.put(cell, 0, data)
    }

    fn put(&self, cell: Handle, flags: u32, data: &[u8]) -> Result<(), Interrupted> {
        let header = &self.cell(cell)?.header;
        let (me, claim) = (self.me(), WhoWhen::claim(self.me()));
        let made = self.memory.new_version(claim, me, cell, flags, data);
        let (at, _) = made.map_err(|full| self.interrupt(Stopped::NoBlock(full)))?;
        let mut writes = self.writes.borrow_mut();
        if let Some(entry) = writes.find(header) {
            // SAFETY: ours, and private.
            let displaced = unsafe { RegionVersion::of(writes.version(entry)) };
            // Relaxed: read by others after our death only.
            displaced.flags.fetch_or(DISPLACED, Ordering::Relaxed);
        }
        writes.write(header, RegionVersion::header_at(at), &KIND);
        self.wrote.set(true);
        Ok(())
    }

    /// A new cell with this value.
    ///
    /// # Errors
    /// If the attempt cannot go on.
    pub fn create(&self, data: &[u8]) -> Result<Handle, Interrupted> {
        self.before_write()?;
        let made = self.memory.new_cell(self.domain(), self.me(), data);
        let (cell, version, handle) =
            made.map_err(|full| self.interrupt(Stopped::NoBlock(full)))?;
        self.created.borrow_mut().push((cell, version));
        Ok(handle)
    }

    /// Frees a cell, if the transaction commits.
    ///
    /// # Errors
    /// If the attempt cannot go on.
    pub fn free(&self, cell: Handle) -> Result<(), Interrupted> {
        self.read(cell)?;
        self.before_write()?;
        self.put(cell, FREES_CELL, &[])?;
        let cell: *const RegionCell = self.cell(cell)?;
        self.freed.borrow_mut().push(cell);
        Ok(())
    }

    fn commit(&self) -> Result<(), Stopped> {
        let domain = self.domain();
        let mut writes = self.writes.borrow_mut();
        if writes.is_empty() && self.created.borrow().is_empty() {
            self.descriptor().counters.read_only.add(1);
            return Ok(());
        }
        if domain.fork.is_child() {
            return Err(Stopped::Forked);
        }
        if domain.is_corrupt() {
            return Err(Stopped::Corrupt);
        }
        if writes.is_empty() {
            // Nothing but new cells: the decision is this store. Release: see `Commit::run`.
            let committed = StateWord::new(self.serial.get(), Phase::Committed);
            self.descriptor().state.store(committed, Ordering::Release);
            self.serial.set(StateWord::next_serial(self.serial.get()));
            return Ok(());
        }
        let replaced = |stamp, block: contempo_alloc::retired::Block| {
            let at = RegionVersion::at_header(block.address.as_ptr().cast());
            // SAFETY: replaced by this commit at its final stamp, by us alone.
            unsafe { self.memory.retire(domain, stamp, at) };
        };
        // SAFETY: inside the transaction that found the cells and versions; the new versions carry
        // its claim.
        let outcome =
            unsafe { self.commit_of().run(&self.reads.borrow(), writes.entries(), replaced) };
        self.serial.set(StateWord::next_serial(self.serial.get()));
        match outcome {
            Ok(stamp) => {
                for cell in self.freed.borrow_mut().drain(..) {
                    // SAFETY: this commit has ended the cell: who begins from now on does not find it.
                    unsafe { self.memory.retire(domain, stamp, cell.cast_mut().cast()) };
                }
                self.recent.set(stamp);
                self.descriptor().counters.commits.add(1);
                Ok(())
            }
            Err(conflict) => {
                for write in writes.entries().iter().filter(|write| was_visible(write)) {
                    let at = RegionVersion::at_header(write.version);
                    // SAFETY: given back: no longer in its cell.
                    unsafe { self.memory.retire_now(domain, at) };
                }
                if domain.is_corrupt() {
                    return Err(Stopped::Corrupt);
                }
                self.gave_way_to.set(conflict.by);
                Err(Stopped::Conflict(conflict.cause))
            }
        }
    }

    /// Ends an attempt: empties the logs and leaves the contemporaries.
    pub(crate) fn end_attempt(&self, committed: bool) {
        self.reads.borrow_mut().clear();
        self.freed.borrow_mut().clear();
        if !self.domain().fork.is_child() {
            self.release();
        }
        if self.domain().fork.is_child() {
            // All of this is the parent's: nothing of it may be touched.
            self.writes.borrow_mut().clear(true, |_| ());
            self.created.borrow_mut().clear();
            return;
        }
        self.writes.borrow_mut().clear(!committed, |block| {
            let at = RegionVersion::at_header(block.address.as_ptr().cast());
            // SAFETY: never published.
            unsafe { self.memory.free_private(self.domain(), at) };
        });
        for (cell, version) in self.created.borrow_mut().drain(..) {
            if !committed {
                // Not freed at once: the closure may have passed the handle on, and others may be at
                // work there. They may have replaced the version, too: then it is theirs to retire.
                // SAFETY: nobody finds the cell who begins from now on (`head`); the version goes first,
                // as in `Memory::destroy`.
                unsafe {
                    self.memory.retire_now(self.domain(), version);
                    self.memory.retire_now(self.domain(), cell);
                }
            }
        }
        announcement::end(self.descriptor());
    }
}

fn was_visible(write: &WriteEntry<RegionDomain>) -> bool {
    !write.base.is_null()
}
