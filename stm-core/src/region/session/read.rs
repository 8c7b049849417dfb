//! Reading: from a handle to the version that an attempt, or a snapshot, sees.

use crate::protocol::commit::{Conflict, ReadEntry};
use crate::protocol::read::{Standing, newest_at, standing};
use crate::protocol::version::CellHeader;
use crate::region::block::FREES_CELL;
use crate::region::domain::{Decoder, RegionCell, RegionDomain, RegionVersion};
use crate::region::session::{Header, Session, Stopped};
use crate::session::error::Interrupt;
use contempo_alloc::region::handle::{Handle, Meta};
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::words::VersionTag;

/// Looks at a cell's head after which no protocol is thought to be at work there.
const MOST_LOOKS: u32 = 1 << 18;

impl Session {
    /// The cell that a handle names.
    ///
    /// # Errors
    /// If there is none.
    #[inline(always)]
    pub(super) fn cell(&self, cell: Handle) -> Result<&RegionCell, Interrupt> {
        self.domain().find_cell(cell).ok_or_else(|| self.interrupt(Stopped::NoSuchCell))
    }

    /// The version of `cell` that this transaction sees. It may be one that ends the cell ([`FREES_CELL`]).
    ///
    /// # Errors
    /// If the attempt cannot go on.
    #[inline(always)]
    pub fn see(&self, decoder: Decoder<'_>, cell: Handle) -> Result<&RegionVersion, Interrupt> {
        let version = self.version(decoder, cell)?;
        // SAFETY: given out by a link, or made by us.
        Ok(unsafe { RegionVersion::of(version) })
    }

    /// The version of `cell` that this transaction sees.
    ///
    /// # Errors
    /// If the attempt cannot go on, or the cell was freed.
    pub fn read(&self, cell: Handle) -> Result<&RegionVersion, Interrupt> {
        let version = self.see(self.domain().decoder(), cell)?;
        if version.has(FREES_CELL) {
            return Err(self.interrupt(Stopped::NoSuchCell));
        }
        Ok(version)
    }

    #[inline(always)]
    pub(super) fn version(
        &self,
        decoder: Decoder<'_>,
        cell: Handle,
    ) -> Result<*mut Header, Interrupt> {
        if self.wrote.get()
            && let Some(own) = self.own_version(&self.cell(cell)?.header)
        {
            self.check_open()?;
            return Ok(own);
        }
        if let Some((cell, version)) = decoder.newest(cell, self.fast_bound.get()) {
            let version = RegionVersion::header_at(std::ptr::from_ref(version).cast_mut().cast());
            self.reads.borrow_mut().push(ReadEntry { cell: &raw const cell.header, version });
            return Ok(version);
        }
        self.version_slow(cell)
    }

    /// Makes sure that the cell was alive after this attempt's announcement, so that neither it nor what it
    /// leads to is freed before the attempt ends; or that it is gone. To have decoded its handle is not
    /// enough: it may be of those that are freed just now.
    ///
    /// # Errors
    /// [`Stopped::NoSuchCell`] if it is gone, [`Stopped::Corrupt`] if no protocol leaves a cell like that.
    pub(crate) fn ensure_alive(&self, cell: &RegionCell, handle: Handle) -> Result<(), Stopped> {
        let domain = self.domain();
        let mut looks = 0;
        loop {
            // Each look that decides nothing has seen the cell change. After so many the memory is damaged.
            looks += 1;
            if looks > MOST_LOOKS {
                domain.note_corrupt();
                return Err(Stopped::Corrupt);
            }
            // 1. Read the head, and what its version says. Any of it may be in use for something else by now.
            // Acquire, partner: the claim that published the version.
            let head = cell.header.value.handle(Ordering::Acquire);
            let found = domain.find_version(head).map(|version| {
                let version_tag = version.header.version_tag.load(Ordering::Acquire);
                (version, version_tag, version.has(FREES_CELL))
            });
            // 2. Read the meta words, which tell whether that was the cell, and its version.
            // What was read above was read before what follows. Pairs with the fence in `SlotHeap::free`:
            // had we seen what the next user of a block has put there, we would see it freed, too.
            fence(Ordering::Acquire);
            // Acquire, partner: the swap that retires it: whatever has ended the cell shows.
            let meta = Meta::from_bits(cell.meta.load(Ordering::Acquire));
            if !handle.fits(meta) {
                return Err(Stopped::NoSuchCell);
            }
            let meta_of =
                |version: &RegionVersion| Meta::from_bits(version.meta.load(Ordering::Relaxed));
            let fits = |version: &RegionVersion| head.fits(meta_of(version));
            let is_kept = |version: &RegionVersion| meta_of(version).retirer().is_none();
            // 3. Decide by what was found: the cell is safe, or gone, or damaged; or it has changed, and is looked at
            // again.
            match found.filter(|(version, ..)| fits(version)) {
                // A version that frees the cell: is that before our bound or after?
                Some((_, version_tag, true)) => match version_tag.owner() {
                    // Freed at a stamp that we read at: by now all of it may be gone.
                    None if version_tag.committed_by(self.bound.get()) => {
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
                // Neither was retired when we had announced ourselves already.
                Some((version, ..)) if meta.retirer().is_none() && is_kept(version) => {
                    return Ok(());
                }
                // Retired, and not by a commit that freed it, which would show now: the transaction that made it has
                // not committed. Or it is being destroyed. Or its head is retired, which no head of a cell in use is.
                Some(_) => {
                    if cell.header.value.handle(Ordering::Acquire) == head {
                        return Err(Stopped::NoSuchCell);
                    }
                }
                None if meta.retirer().is_some() => {
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
    pub(super) fn own_version(&self, cell: &CellHeader<RegionDomain>) -> Option<*mut Header> {
        let writes = self.writes.borrow();
        writes.find(cell).map(|entry| writes.version(entry))
    }

    /// [`version`](Self::version), where the fast read has found no answer: the cell is claimed, or its newest version
    /// is above the bound, or the handle is bad, or the attempt is interrupted.
    #[cold]
    #[inline(never)]
    fn version_slow(&self, handle: Handle) -> Result<*mut Header, Interrupt> {
        let cell = self.cell(handle)?;
        self.check_open()?;
        // Before anything is followed: is the cell one that this attempt's announcement keeps?
        self.ensure_alive(cell, handle).map_err(|why| self.interrupt(why))?;
        let cell = &cell.header;
        loop {
            let own = VersionTag::claim(self.me());
            // SAFETY: inside an attempt with this bound; the cell was alive then (`ensure_alive`).
            let found = unsafe { newest_at(self.domain(), cell, self.bound.get(), own) };
            if self.domain().is_corrupt() {
                return Err(self.interrupt(Stopped::Corrupt));
            }
            // The newest at our bound is not the newest any more. An attempt that writes must read the newest, so it
            // moves its bound forward; another reads on at its bound, but may not write from now on.
            if found.superseded {
                if self.updating.get() {
                    let before = self.bound.get();
                    if !self.extend() {
                        self.turns.note(&Conflict::at(Cause::Changed, cell));
                        return Err(self.interrupt(Stopped::Conflict(Cause::Changed)));
                    }
                    // What has superseded it was committed, at a stamp above the last bound: so there is a new one.
                    if self.bound.get() <= before {
                        self.domain().note_corrupt();
                        return Err(self.interrupt(Stopped::Corrupt));
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
    #[cold]
    #[inline(never)]
    pub fn look(&self, cell: Handle) -> Result<&RegionVersion, Interrupt> {
        let domain = self.domain();
        let found = self.cell(cell)?;
        self.ensure_alive(found, cell).map_err(|why| self.interrupt(why))?;
        let own = VersionTag::claim(self.me()); // Never published: no claim is ours.
        // SAFETY: inside a snapshot with this bound; the cell was alive then (`ensure_alive`).
        let version = unsafe { newest_at(domain, &found.header, self.bound.get(), own) }.version;
        // SAFETY: `newest_at` returns headers that links of this region have given out.
        Ok(unsafe { RegionVersion::of(version) })
    }
}
