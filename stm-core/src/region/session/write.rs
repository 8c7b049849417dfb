//! What a transaction writes: versions and cells, private until it commits; the commit; and the end of an
//! attempt.

use crate::protocol::commit::WriteEntry;
use crate::protocol::version::CellHeader;
use crate::region::block::{DISPLACED, FREES_CELL, LENT};
use crate::region::domain::{RegionCell, RegionDomain, RegionVersion, VERSION_HEADER};
use crate::region::session::{GENESIS, KIND, Session, Stopped};
use crate::session::error::Interrupt;
use contempo_alloc::reclaim::announcement;
use contempo_alloc::reclaim::retired::Block;
use contempo_alloc::region::handle::Handle;
use contempo_alloc::region::superblock::{LARGEST, SIZES, Superblock};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::words::{Phase, StateWord, VersionTag};

impl Session {
    /// Before anything of a transaction is written to the region.
    fn before_write(&self) -> Result<(), Interrupt> {
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
    pub fn write(&self, cell: Handle, data: &[u8]) -> Result<(), Interrupt> {
        // Read first, so that a cell that was freed meanwhile shows, here or at the commit. Mostly that
        // has just been done.
        let header = &self.cell(cell)?.header;
        let last = self.reads.borrow().last().map(|read| (read.cell, read.version));
        match last {
            Some((read, version))
                if std::ptr::eq(read, header)
                    && self.may_go_on()
                    && self.freed.borrow().is_empty() =>
            {
                // SAFETY: this attempt has read it, so a link has given it out, and its announcement keeps it.
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

    /// A reference to the data of this version is handed out: if this transaction has written it, it stays.
    #[inline(always)]
    pub fn lend(&self, version: &RegionVersion) {
        if self.wrote.get()
            && version.header.version_tag.load(Ordering::Relaxed).owner() == Some(self.me())
        {
            // Relaxed: ours, and private.
            version.flags.fetch_or(LENT, Ordering::Relaxed);
        }
    }

    /// Writes `data` over what this transaction has written to a cell before, if nothing may still want that.
    fn is_written_over(&self, cell: &CellHeader<RegionDomain>, data: &[u8]) -> bool {
        // A part that fails brings back what it has written over.
        if !self.wrote.get() || (self.parts.get() > 0 && !planted(Fault::WrittenOverInAPart)) {
            return false;
        }
        let Some(version) = self.own_version(cell) else { return false };
        let (map, at) = (&self.domain().map, RegionVersion::at_header(version));
        let superblock = Superblock::at(map, at.addr() - map.base().addr());
        let room = superblock.and_then(|it| it.state().class()).map_or(0, |class| SIZES[class]);
        // SAFETY: pending, so private; in a block of that size. A reference to its data that may still be used was
        // given out by `lend`, which has flagged it.
        unsafe { RegionVersion::write_over(at, room, data) }
    }

    fn put(&self, cell: Handle, flags: u32, data: &[u8]) -> Result<(), Interrupt> {
        let header = &self.cell(cell)?.header;
        let is_in_need = self.memory.in_need.get();
        if is_in_need {
            self.count_need(cell, flags, data.len())?;
        }
        if flags == 0 && self.is_written_over(header, data) {
            if is_in_need {
                self.memory.note_written_over();
            }
            return Ok(());
        }
        let (me, claim) = (self.me(), VersionTag::claim(self.me()));
        let made = self.memory.new_version(claim, me, cell, flags, data);
        let (at, _) = made.map_err(|full| self.interrupt(Stopped::NoBlock(full)))?;
        let mut writes = self.writes.borrow_mut();
        if let Some(entry) = writes.find(header) {
            // SAFETY: this transaction has made it, and it is private until the commit claims it.
            let displaced = unsafe { RegionVersion::of(writes.version(entry)) };
            // Relaxed: other threads read it after our death only.
            displaced.flags.fetch_or(DISPLACED, Ordering::Relaxed);
        }
        writes.write(header, RegionVersion::header_at(at), &KIND);
        self.wrote.set(true);
        Ok(())
    }

    /// Counts what a new version of the cell needs, and what is given back for it.
    #[cold]
    fn count_need(&self, cell: Handle, flags: u32, length: usize) -> Result<(), Interrupt> {
        // Not what blocks it has: where two nodes share their entries anew, one may come to a larger block.
        let bytes = |length: usize| (VERSION_HEADER + length) as isize;
        let replaced = self.read(cell)?.length.load(Ordering::Relaxed) as usize;
        // What frees a cell goes with it.
        let new =
            if flags == FREES_CELL { -(size_of::<RegionCell>() as isize) } else { bytes(length) };
        self.need.set(self.need.get() + new - bytes(replaced.min(LARGEST)));
        Ok(())
    }

    /// A new cell with this value.
    ///
    /// # Errors
    /// If the attempt cannot go on.
    pub fn create(&self, data: &[u8]) -> Result<Handle, Interrupt> {
        self.before_write()?;
        if self.memory.in_need.get() {
            let bytes = VERSION_HEADER + data.len() + size_of::<RegionCell>();
            self.need.set(self.need.get() + bytes as isize);
        }
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
    pub fn free(&self, cell: Handle) -> Result<(), Interrupt> {
        self.read(cell)?;
        self.before_write()?;
        self.put(cell, FREES_CELL, &[])?;
        let cell: *const RegionCell = self.cell(cell)?;
        self.freed.borrow_mut().push(cell);
        Ok(())
    }

    /// Commits what the attempt has written, made and freed.
    pub(super) fn commit_all(&self) -> Result<(), Stopped> {
        debug_assert!(self.running.get(), "a commit outside of a session");
        debug_assert_eq!(self.parts.get(), 0, "a commit inside a part of its transaction");
        let domain = self.domain();
        let mut writes = self.writes.borrow_mut();
        if domain.fork.is_child() {
            return Err(Stopped::Forked);
        }
        if writes.is_empty() && self.created.borrow().is_empty() {
            self.descriptor().counters.read_only.add(1);
            return Ok(());
        }
        if domain.is_corrupt() {
            return Err(Stopped::Corrupt);
        }
        // The reserve is for transactions that give back what they need, or more.
        if self.memory.in_need.get()
            && self.memory.has_drawn.get()
            && self.need.get() > 0
            && let Some(full) = self.full.take()
        {
            return Err(Stopped::NoBlock(full));
        }
        if writes.is_empty() {
            // Nothing but new cells: the decision is this store. Release: see `Commit::run`.
            let committed = StateWord::new(self.serial.get(), Phase::Committed);
            self.descriptor().state.store(committed, Ordering::Release);
            self.serial.set(StateWord::next_serial(self.serial.get()));
            return Ok(());
        }
        // What the commit replaces is retired at once, at its stamp. A first version may be retired by another thread
        // as well, so for that the mark is a swap.
        let mut replaced = |stamp, block: Block, _: &WriteEntry<_>| {
            let at = RegionVersion::at_header(block.address.as_ptr().cast());
            // SAFETY: replaced by this commit at its final stamp, which no longer changes.
            unsafe {
                // Relaxed: it was committed before we replaced it.
                let replaced = RegionVersion::of(block.address.as_ptr().cast());
                if replaced.header.version_tag.load(Ordering::Relaxed) == GENESIS {
                    self.memory.retire_first(domain, stamp, at);
                } else {
                    self.memory.retire(domain, stamp, at);
                }
            }
        };
        // SAFETY: inside the transaction that found the cells and versions; the new versions carry
        // its claim.
        let outcome = unsafe {
            let changed = |cell: &_| domain.changed(self.descriptor(), cell);
            self.commit_of().run(&self.reads.borrow(), writes.entries(), &mut replaced, changed)
        };
        // A new serial, also after a failure: other threads may have met our claims, and look at our state word later.
        if outcome.is_ok() || !planted(Fault::SerialKeptAfterFailure) {
            self.serial.set(StateWord::next_serial(self.serial.get()));
        }
        match outcome {
            Ok(stamp) => {
                // The cells that it freed go now, after the decision: until then another outcome was possible.
                for cell in self.freed.borrow_mut().drain(..) {
                    // SAFETY: this commit has ended the cell: a transaction that begins from now on does not find it.
                    unsafe { self.memory.retire_now(domain, cell.cast_mut().cast()) };
                }
                self.recent.set(stamp);
                self.descriptor().counters.commits.add(1);
                Ok(())
            }
            Err(conflict) => {
                // What other threads have seen may not be freed before they end; the rest, `end_attempt` frees at once.
                for write in writes.entries().iter().filter(|write| was_visible(write)) {
                    let at = RegionVersion::at_header(write.version);
                    // SAFETY: given back: no longer in its cell.
                    unsafe { self.memory.retire_now(domain, at) };
                }
                if domain.is_corrupt() {
                    return Err(Stopped::Corrupt);
                }
                self.turns.note(&conflict);
                Err(Stopped::Conflict(conflict.cause))
            }
        }
    }

    /// Ends an attempt: empties the logs and leaves the contemporaries.
    pub(crate) fn end_attempt(&self, committed: bool) {
        debug_assert!(self.running.get(), "an attempt ends outside of a session");
        self.reads.borrow_mut().clear();
        self.freed.borrow_mut().clear();
        if !committed {
            self.turns.met.set(None); // The cell may go now.
        }
        // Reservations go before the announcement: to give one back, its cell must still be there.
        if !self.domain().fork.is_child() {
            self.release();
        }
        if self.domain().fork.is_child() {
            // All of this is the parent's: nothing of it may be touched.
            self.writes.borrow_mut().clear(true, |_| ());
            self.created.borrow_mut().clear();
            return;
        }
        // Private versions go at once: those that were displaced, and after a failure those that were never claimed.
        self.writes.borrow_mut().clear(!committed, |block| {
            let at = RegionVersion::at_header(block.address.as_ptr().cast());
            // SAFETY: made by this transaction and never published: no other thread can reach it.
            unsafe { self.memory.free_private(self.domain(), at) };
        });
        // New cells stay after a commit, and go after a failure.
        let mut made = self.created.borrow_mut();
        if committed {
            made.clear();
        } else {
            self.retire_made(made.drain(..));
        }
        // Last: until here the announcement has kept what the logs named.
        announcement::end(self.descriptor());
    }

    /// Takes cells back that will not be, with their first versions. To be called inside the attempt.
    pub(super) fn retire_made(&self, made: impl Iterator<Item = (*mut u8, *mut u8)>) {
        for (cell, version) in made {
            // Not freed at once: the closure may have passed the handle on, and other threads may be at work
            // there. They may have replaced the version, too: then it is theirs to retire.
            // SAFETY: no transaction that looks at the cell after this finds it in use. It goes first: one that has
            // found it in use is a contemporary of what is retired after that.
            unsafe {
                self.memory.retire_now(self.domain(), cell);
                self.memory.retire_now(self.domain(), version);
            }
        }
    }
}

fn was_visible(write: &WriteEntry<RegionDomain>) -> bool {
    !write.base.is_null()
}
