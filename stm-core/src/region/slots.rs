//! Slots of threads: how a thread gets one, which may be that of a dead thread, and gives it up.

use crate::region::domain::RegionDomain;
use crate::region::liveness::{Dead, is_slot_of_the_dead};
use crate::region::recover;
use crate::region::session::Session;
use contempo_alloc::reclaim::announcement::{self, Idle};
use contempo_alloc::region::error::{OpenError, system};
use contempo_alloc::region::layout::Incarnation;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};
use std::sync::PoisonError;
use std::time::Duration;

/// A session for the calling thread, on a slot of its own; none if all are taken by the living.
///
/// # Errors
/// If the system does not say which processes live.
pub(crate) fn take_slot(domain: &RegionDomain) -> Result<Option<Session>, OpenError> {
    let mut looks = 0;
    loop {
        if let Some(session) = try_take_slot(domain)? {
            return Ok(Some(session));
        }
        // Another thread may be recovering all those that belong to the dead: then there are some soon.
        let some_are_dead =
            (0..domain.map.identity().slots).any(|slot| is_slot_of_the_dead(domain, slot));
        if !some_are_dead || looks == LOOKS_FOR_SLOTS {
            return Ok(None);
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How often, once in a millisecond, a thread looks for a slot while all are being recovered: that is one pass over the
/// region.
const LOOKS_FOR_SLOTS: u32 = 10_000;

fn try_take_slot(domain: &RegionDomain) -> Result<Option<Session>, OpenError> {
    let (map, own) = (&domain.map, domain.own.bits());
    let raise = |slot: u32| {
        // SeqCst, partner: `SlotTable::each`; as in `DescriptorTable::take`.
        map.shared().high_water.fetch_max(slot + 1, Ordering::SeqCst);
    };
    for slot in 0..map.identity().slots {
        let Some(record) = map.slot(slot) else { break };
        if record.process.load(Ordering::Relaxed) != 0 {
            continue;
        }
        // Before it is taken: should we die in between, a thread that looks for the dead looks this far.
        if !planted(Fault::SlotTakenUncounted) {
            raise(slot);
        }
        // Acquire, partner: the release by the thread that gave it up, or that recovered it.
        let taken = record.process.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            #[cfg(test)]
            interludes::run(interludes::Moment::Taken, slot);
            if planted(Fault::SlotTakenUncounted) {
                raise(slot);
            }
            domain.counts.begin(slot, &record.descriptor);
            // SAFETY: the session is kept by `current`, which keeps the region; the slot is ours.
            return Ok(Some(unsafe { Session::new(domain, slot) }));
        }
    }
    // All are taken, perhaps by the dead, and no thread may have a slot from which to recover them: take one of
    // those over.
    let _alone = domain.recovering.lock().unwrap_or_else(PoisonError::into_inner);
    for slot in 0..map.identity().slots {
        let Some(record) = map.slot(slot) else { break };
        let dead = Dead::find(domain, slot).map_err(system("look at the liveness"))?;
        let Some(dead) = dead else { continue };
        // SAFETY: the session is kept by `current`, which keeps the region; the slot becomes ours below, and no other
        // thread takes it until then, since `dead` holds its liveness lock.
        let heir = unsafe { Session::new(domain, slot) };
        raise(slot);
        let work = heir.memory.work(domain);
        // The slot's liveness lock is held until the slot is ours: else another thread would find it dead, and recover
        // it under us.
        let dead = [dead];
        recover::recover_slots(&heir, &dead);
        drop(work);
        heir.renew_serial();
        #[cfg(test)]
        interludes::run(interludes::Moment::Recovered, slot);
        // Release, partner: the acquire in `Dead::find`.
        record.process.store(own, Ordering::Release);
        domain.counts.begin(slot, &record.descriptor);
        drop(dead);
        return Ok(Some(heir));
    }
    Ok(None)
}

/// Gives a session's slot up. If something is held in it still, then the slot says so, and a thread that recovers, or
/// needs a slot, adopts that, as after a death.
pub(crate) fn leave(domain: &RegionDomain, session: &Session) {
    session.memory.collect(domain, Idle::Inactive);
    session.memory.leave();
    announcement::withdraw(session.descriptor());
    let left = if session.memory.held() == 0 { 0 } else { Incarnation::LEFT.bits() };
    if left != 0 {
        // Relaxed: a reminder for threads of this process.
        domain.left_behind.store(true, Ordering::Relaxed);
    }
    if let Some(record) = domain.map.slot(session.slot) {
        domain.counts.end(session.slot, &record.descriptor);
        // Release, partner: the acquire in `take_slot`, and in `Dead::find`.
        record.process.store(left, Ordering::Release);
    }
}

/// What a test does at moments of a thread that gets a slot.
#[cfg(test)]
pub(crate) mod interludes {
    use std::cell::RefCell;

    /// Such a moment.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Moment {
        /// A free slot was just taken.
        Taken,
        /// A dead slot was recovered, and is about to be taken.
        Recovered,
    }

    type Interlude = (Moment, Box<dyn FnOnce(u32)>);

    std::thread_local! {
        static INTERLUDE: RefCell<Option<Interlude>> = const { RefCell::new(None) };
    }

    /// At the next such moment of this thread.
    pub(crate) fn set(moment: Moment, interlude: impl FnOnce(u32) + 'static) {
        INTERLUDE.set(Some((moment, Box::new(interlude))));
    }

    pub(super) fn run(moment: Moment, slot: u32) {
        let due = INTERLUDE.with_borrow_mut(|it| it.take_if(|(due, _)| *due == moment));
        if let Some((_, interlude)) = due {
            interlude(slot);
        }
    }
}
