//! Taking back what a dead process has left.
//!
//! Transactions need none of this to go on: a dead owner's claim is aborted or finished by each transaction that meets
//! it, as that of any owner. What is left after that is what only liveness and memory need: the slot,
//! the announcement, the blocks.
//!
//! One process at a time recovers a slot: it holds the slot's liveness lock, which the kernel takes back should
//! it die too. The next one then begins from the start: every step can be repeated, and the slot is
//! given up last. All slots that are found dead are recovered together, in one pass over what they have
//! (`search`). The argument, step by step, is in `docs/regions.md`, "Recovery".

use crate::domain::Domain;
use crate::protocol::resolve::{finish, resolve, take_back};
use crate::region::domain::RegionVersion;
use crate::region::liveness::{Dead, is_cut_off, record};
use crate::region::memory::FormerRetirer;
use crate::region::recovered::Recovered;
use crate::region::search::Free;
use crate::region::session::Session;
use contempo_alloc::reclaim::{announcement, needs};
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_alloc::region::handle::Handle;
use contempo_alloc::region::layout::{Incarnation, WAKE_WORDS};
use contempo_alloc::region::superblock::Superblock;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use contempo_sched::words::{Owner, Phase, StateWord, VersionTag};
use std::sync::TryLockError;

mod plan;

#[cfg(test)]
pub(crate) use plan::tests;
pub(crate) use plan::{Last, Recovery, go_through};

/// Recovers the slots of every dead process. To be called outside a transaction.
pub(crate) fn reap(session: &Session) -> Recovered {
    reap_some(session, usize::MAX)
}

/// Recovers `most` slots of dead processes, all in one pass over what they have.
pub(crate) fn reap_some(session: &Session, most: usize) -> Recovered {
    let domain = session.domain();
    let nothing = Recovered::default();
    if session.is_running() {
        return nothing; // Its announcement is not ours to move.
    }
    if is_cut_off(domain) {
        domain.note_corrupt();
        return nothing;
    }
    // One at a time in this process. Another thread is at it: enough. One that has panicked there has held nothing
    // that is not given up, or done again.
    let _alone = match domain.recovering.try_lock() {
        Ok(alone) => alone,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return nothing,
    };
    // Relaxed: a reminder. A thread that leaves something after this sets it again.
    domain.left_behind.store(false, Ordering::Relaxed);
    // Find the dead, and lock their slots.
    let end = domain.map.shared().high_water.load(Ordering::SeqCst);
    let slots = (0..end.min(domain.map.identity().slots)).filter(|slot| *slot != session.slot);
    // What the system does not say now, it may say next time.
    let found = slots.filter_map(|slot| Dead::find(domain, slot).ok().flatten());
    let dead: Vec<Dead<'_>> = found.take(most).collect();
    if dead.is_empty() {
        return nothing;
    }
    if dead.len() == most {
        domain.left_behind.store(true, Ordering::Relaxed); // Perhaps there are more.
    }
    // Recover them, inside an attempt: its announcement keeps what is looked at from being freed.
    let Ok(running) = session.enter() else { return nothing };
    session.begin();
    session.memory.look_at_epoch(domain);
    let done = recover_slots(session, &dead);
    session.end_attempt(true);
    drop(running);
    if domain.is_corrupt() {
        return done; // The slots stay as they are, for a person to find out what has happened.
    }
    // Give the slots up last: should this process die before, the next recoverer finds them and begins anew.
    for dead in &dead {
        // Release, partner: the acquire when a slot is taken. Only if it is still what we have
        // seen: no process but this one can have changed it, as it holds the slot's liveness lock.
        let _ = record(domain, dead.slot).compare_exchange(
            dead.owner.bits(),
            0,
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
    // A dead process may have decided and not come to its wake-ups: all sleepers look for themselves.
    (0..WAKE_WORDS).for_each(|word| domain.wake_all(word));
    done
}

/// Recovers what the last owners of these slots have left. `session` adopts the blocks, and may be one of
/// such a slot, if there is no other.
///
/// The session is active, and has an announcement in force; or it is of a dead slot, the announcement of which is in
/// force if its last owner died inside a transaction.
pub(crate) fn recover_slots(session: &Session, dead: &[Dead<'_>]) -> Recovered {
    let domain = session.domain();
    let died = dead.iter().filter(|dead| dead.owner != Incarnation::LEFT).count();
    let mut done = Recovered { slots: died as u64, ..Recovered::default() };
    let slots: Vec<u32> = dead.iter().map(|dead| dead.slot).collect();
    let mut last = vec![None; slots.iter().max().map_or(0, |most| *most as usize + 1)];
    // 1. Make the outcome of each slot's last transaction final: from here on no step depends on when it is made.
    for &slot in &slots {
        let descriptor = domain.table().descriptor(slot);
        let (state, aborted) = resolve(descriptor);
        done.aborted += u64::from(aborted);
        done.finished += u64::from(state.phase() == Phase::Committed);
        last[slot as usize] = Some(Last { slot, state, descriptor });
    }
    // 2. One pass over what the slots have: finish or take back their claims, and adopt their blocks.
    let of = |epoch: OwnershipEpoch| last.get(epoch.slot() as usize).copied().flatten();
    let mut recoverer = Recoverer { session, blocks: 0 };
    let given_up =
        session.memory.announced(domain, || go_through(domain, &slots, of, &mut recoverer));
    done.blocks = recoverer.blocks;
    // 3. Give their superblocks up, now that nothing has to be found in them any more.
    for (superblock, owner) in given_up {
        superblock.give_up(owner);
    }
    // 4. Put the descriptors in order, for the next owners.
    let shared = domain.map.shared();
    for Last { slot, state, descriptor } in last.into_iter().flatten() {
        // Release, partner: the acquire in `Slot::alone`. The barrier that it wanted is not needed.
        let _ = shared.revoking.compare_exchange(slot + 1, 0, Ordering::Release, Ordering::Relaxed);
        descriptor.end_turn();
        // All that it had retired is adopted, and noted by us. (If the slot is our own, then these notes are ours.)
        if slot != session.slot
            && let Some(record) = domain.map.slot(slot)
        {
            record.traces.clear_spilled();
        }
        // What the dead one's next transaction had made (serial + 1) is retired, and may lie there for a
        // while yet. No transaction of the slot's next owner may be taken for that one. Release: a thread that
        // sees this serial sees that the claims of the one before have their stamps, or are gone.
        let next = StateWord::new(StateWord::next_serial(state.serial()), Phase::Aborted);
        descriptor.state.store(next, Ordering::Release);
        // It may have died while it moved from one bound to another.
        needs::stay(descriptor);
        announcement::end(descriptor);
        // From now on nothing is held back for it. Last: what it had replaced was safe until here.
        announcement::withdraw(descriptor);
    }
    shared.recoveries.fetch_add(done.slots, Ordering::Relaxed);
    shared.recovered_aborted.fetch_add(done.aborted, Ordering::Relaxed);
    shared.recovered_finished.fetch_add(done.finished, Ordering::Relaxed);
    shared.recovered_blocks.fetch_add(done.blocks, Ordering::Relaxed);
    done
}

/// The thread that recovers: what `plan` finds to be done, this does.
struct Recoverer<'s> {
    session: &'s Session,
    /// How many it has taken.
    blocks: u64,
}

impl Recovery for Recoverer<'_> {
    fn free(&mut self, free: &Free<'_>) {
        free.hint(self.session.domain());
    }

    fn perhaps_free(&mut self, place: usize) {
        Superblock::hint_if_free(&self.session.domain().map, place);
    }

    fn finish(&mut self, _: Handle, version: &RegionVersion, last: Last<'_>) -> bool {
        let domain = self.session.domain();
        // A stamp above the clock was never drawn: damage, on which nothing is to be built.
        // Acquire, partner: the owner's store of the stamp, which it had drawn from the clock.
        if last.descriptor.stamp.load(Ordering::Acquire) > domain.clock().now() {
            domain.note_corrupt();
            return false;
        }
        let claim = Owner { slot: last.slot, serial: last.state.serial() };
        finish(last.descriptor, &version.header, VersionTag::claim(claim));
        true
    }

    fn give_back(&mut self, own: Handle, cell: Handle, base: Handle) {
        if let Some(cell) = self.session.domain().find_cell(cell) {
            take_back(|| cell.header.value.swing(own, base));
        }
    }

    /// As it was seen, by its generation: a thread that needs room may take over, free and use again what the dead had
    /// retired or freed before we announced ourselves (`reclaim_others`).
    fn take(&mut self, former: FormerRetirer, block: Handle) {
        let session = self.session;
        // SAFETY: only the dead would have freed it, and we hold their slots' liveness locks.
        let taken = unsafe { session.memory.take_over(session.domain(), former, block) };
        self.blocks += u64::from(taken);
    }
}
