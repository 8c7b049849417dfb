//! The reclaimer: looks at what other threads have announced, and frees what has outlived its contemporaries.
//!
//! It is written once, over [`Retirer`]: what a thread of this process brings (`contemporaries`), and what a slot of a
//! region does (`contempo-core`). It is compiled for each of them.

use crate::reclaim::announcement::{self, Idle};
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::CHECKED;
use contempo_sched::primitives::fault::{Fault, planted};

/// Units of retired blocks after which a thread looks what it can free.
pub const BATCH: usize = if CHECKED { 1 } else { 128 };
/// Held units after which a thread pays for a barrier to revoke idle threads' announcements.
pub const REVOKE_AT: usize = if CHECKED { 2 } else { 1024 };

/// One thread's retired blocks, and what its world brings for them to be freed.
///
/// Most often a world keeps them in a [`Queue`](crate::reclaim::queue::Queue), whose
/// [`Batch`](crate::reclaim::queue::Batch) is what [`candidates`](Self::candidates) asks for.
///
/// # Contract
/// 1. **Unlinked before it has its stamp.** What a commit has replaced is retired at that commit's final stamp. What
///    became unreachable otherwise is retired at
///    [`unlinked_at`](crate::reclaim::announcement::unlinked_at), asked for after that.
/// 2. **Nothing but candidates.** [`free_below`](Self::free_below) frees nothing that was retired after
///    [`candidates`](Self::candidates) was called, whatever is retired or given away while it frees: of what came
///    later the look does not know the readers. It frees nothing at or above the horizon.
/// 3. **One revoker.** While [`alone`](Self::alone) runs what it is given, it runs nothing for another thread of the
///    domain; a thread that dies in it does not stop the others for ever.
/// 4. **Every thread.** [`heavy`](Self::heavy) returns true only after a barrier on every thread that the table has,
///    of each process: the other side of the `light` with which they begin.
///
/// What a thread leaves to others when it ends or sleeps is the world's own matter: leftovers in one process, marks
/// and notes in a region, which outlive a death.
///
/// Proofs that rest on this: Lemma C, and what follows it, in `docs/proofs.md`.
pub trait Retirer {
    /// What stamps come from.
    type Clock: Clock;
    /// Where the descriptors lie.
    type Table: Descriptors;
    /// What a look may free: what was retired before it.
    type Candidates;
    /// May freeing retire more (a destructor that runs a transaction)? Then the thread looks again as long as that
    /// frees something. Else it does so only if it was asked to free all that can be.
    const FREEING_RETIRES: bool;

    /// The clock of the domain.
    fn clock(&self) -> &Self::Clock;
    /// The descriptors of the domain.
    fn table(&self) -> &Self::Table;
    /// The slot of the thread.
    fn slot(&self) -> u32;

    /// What was retired until now, and what others have left by now.
    fn candidates(&self) -> Self::Candidates;
    /// Is anything left of that?
    fn are_left(&self, candidates: &Self::Candidates) -> bool;
    /// The stamp of what this thread has retired last and still holds, or 0.
    fn newest(&self) -> u64;

    /// Frees what of `candidates` was retired before `horizon`, and takes it off them. Returns whether there was any.
    ///
    /// # Safety
    /// No transaction can reach a candidate that was retired before `horizon`.
    unsafe fn free_below(&self, horizon: u64, candidates: &mut Self::Candidates) -> bool;

    /// Which threads are idle enough to be in the way, if the caller wants those that are `asked`?
    fn idle_for(&self, asked: Idle, _candidates: &Self::Candidates) -> Idle {
        asked
    }
    /// At the moment `now` a look has left these. Is it worth a barrier to revoke the announcements of overdue
    /// threads? (Whether they hold any of it is not known.)
    fn pays_a_barrier(&self, now: u64, left: &Self::Candidates) -> bool;
    /// Does a thread of the domain lean on the announcement of another ([`look`](crate::reclaim::needs::look))?
    #[inline(always)]
    fn leans(&self) -> bool {
        false
    }
    /// Runs `revoke` as the only revoker of the domain; nothing if another thread is at it.
    fn alone(&self, revoke: impl FnOnce()) -> bool;
    /// Imposes a barrier on every thread of the domain. False if that could not be.
    fn heavy(&self) -> bool;
}

/// Frees what can be freed. `asked`: for the sake of whose announcements may it pay a barrier? To be called outside a
/// transaction; runs what the world's blocks run when they are freed. One step for each thread, and one for each block.
pub fn collect<R: Retirer>(retirer: &R, asked: Idle) {
    // What is freed may retire more (the next node of a list), and time passes: look again while that helps.
    while look(retirer, asked) && (R::FREEING_RETIRES || asked == Idle::Inactive) {}
}

/// One look at the announcements; returns whether anything was freed. (In line: of two in a row, which is the least, the
/// second often finds nothing to look for.)
#[inline(always)]
pub(super) fn look<R: Retirer>(retirer: &R, asked: Idle) -> bool {
    // Only what was retired before the look may be freed by it.
    let mut candidates = retirer.candidates();
    if !retirer.are_left(&candidates) {
        return false;
    }
    // First a look that costs no barrier: it frees what no thread has announced.
    // (Nothing of a phase that is not over is freed. A thread that is to free all that can be ends it; so does one that
    // finds what weighs: it may be the last that looks.)
    let idle = retirer.idle_for(asked, &candidates);
    let thorough = idle == Idle::Inactive;
    let now = if thorough { retirer.clock().now() } else { retirer.clock().seen() };
    let (horizon, idle_blocker) = horizon(retirer, now, idle);
    // SAFETY: the look behind `horizon` was made after the candidates were retired (contract, 2). A transaction that can
    // reach one of them has announced its stamp or an older one, so none can reach those before `horizon`, the oldest
    // that is announced (Lemma C).
    let mut freed = unsafe { retirer.free_below(horizon, &mut candidates) };
    // What is left may be held by idle threads alone: takes their announcements back, if that pays, and looks again.
    let pays = |left: &R::Candidates| match asked {
        Idle::Inactive => retirer.are_left(left),
        Idle::Overdue => retirer.pays_a_barrier(now, left),
    };
    if idle_blocker && pays(&candidates) && revoke(retirer, now, idle) {
        let (horizon, _) = self::horizon(retirer, now, idle);
        // SAFETY: this look, too, was made after the candidates were retired, and what it no longer sees was cleared
        // because no transaction ran under it ("Revocation" in `docs/proofs.md`): none can reach a candidate before
        // `horizon` (Lemma C).
        freed |= unsafe { retirer.free_below(horizon, &mut candidates) };
    }
    let newest = retirer.newest();
    // (Not where its phase is open: threads that draw in it end it now and then.)
    let none_commits = R::Clock::end_of(newest) == now || thorough && newest >= now;
    if !freed && none_commits {
        // A thread holds everything back, and none commits: let time pass, so that running threads renew their
        // announcements and idle ones become overdue.
        retirer.clock().draw(R::Clock::RENEWAL >> R::Clock::DRAWER_BITS);
    }
    freed
}

/// What was retired before this stamp is out of reach; and is a thread in the way that is `idle`?
fn horizon<R: Retirer>(retirer: &R, now: u64, idle: Idle) -> (u64, bool) {
    let (oldest, idle_blocker) =
        announcement::oldest::<R::Clock>(retirer.table(), retirer.slot(), now, idle, || {
            retirer.leans()
        });
    let horizon = match () {
        () if planted(Fault::FreeAtOnce) => u64::MAX,
        () if planted(Fault::FreeOneStampEarly) => oldest.saturating_add(1 + R::Clock::RENEWAL),
        () if planted(Fault::OrphansByAnOldLook) => oldest,
        () => oldest.min(now + 1),
    };
    (horizon, idle_blocker)
}

/// Revokes the announcements of threads that are `idle`. Is another look worth it?
#[cold]
fn revoke<R: Retirer>(retirer: &R, now: u64, idle: Idle) -> bool {
    retirer.alone(|| {
        let (table, slot) = (retirer.table(), retirer.slot());
        announcement::revoke_idle::<R::Clock>(table, slot, now, idle, || retirer.heavy());
    })
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use crate::reclaim::announcement::{MARK, NOTHING};
    use crate::reclaim::queue::{Batch, Free, Item, Queue, Retired};
    use contempo_sched::clock::CounterClock;
    use contempo_sched::descriptor::table::DescriptorTable;
    use contempo_sched::descriptor::{Descriptor, ThreadDescriptor};
    use contempo_sched::primitives::Ordering;
    use std::cell::{Cell, RefCell};

    const RENEWAL: u64 = CounterClock::RENEWAL;

    /// The least that a world must bring. A block is its number.
    #[derive(Default)]
    struct World<const FREEING_RETIRES: bool> {
        clock: CounterClock,
        table: DescriptorTable,
        queue: Queue<u64>,
        freed: RefCell<Vec<u64>>,
        /// A block is retired when a block is freed, at this stamp.
        next: Cell<Option<u64>>,
        pays: Cell<bool>,
        another_revokes: Cell<bool>,
        barriers: Cell<u32>,
    }

    impl Item for u64 {
        const ONE_EACH: bool = true;

        fn units(self) -> usize {
            1
        }
    }

    impl<const FREEING_RETIRES: bool> Free<u64> for World<FREEING_RETIRES> {
        unsafe fn free(&self, block: u64) {
            self.freed.borrow_mut().push(block);
            if let Some(stamp) = self.next.take() {
                self.queue.push(Retired { stamp, block: 100 + block });
            }
        }
    }

    impl<const FREEING_RETIRES: bool> Retirer for World<FREEING_RETIRES> {
        type Clock = CounterClock;
        type Table = DescriptorTable;
        type Candidates = Batch;
        const FREEING_RETIRES: bool = FREEING_RETIRES;

        fn clock(&self) -> &CounterClock {
            &self.clock
        }

        fn table(&self) -> &DescriptorTable {
            &self.table
        }

        fn slot(&self) -> u32 {
            0
        }

        fn candidates(&self) -> Batch {
            self.queue.batch()
        }

        fn are_left(&self, candidates: &Batch) -> bool {
            !candidates.is_empty()
        }

        fn newest(&self) -> u64 {
            self.queue.newest()
        }

        unsafe fn free_below(&self, horizon: u64, candidates: &mut Batch) -> bool {
            // SAFETY: numbers are all that there is.
            unsafe { self.queue.free_below(horizon, candidates, self) > 0 }
        }

        fn pays_a_barrier(&self, _: u64, _: &Batch) -> bool {
            self.pays.get()
        }

        fn alone(&self, revoke: impl FnOnce()) -> bool {
            let alone = !self.another_revokes.get();
            if alone {
                revoke();
            }
            alone
        }

        fn heavy(&self) -> bool {
            self.barriers.set(self.barriers.get() + 1);
            true
        }
    }

    impl<const FREEING_RETIRES: bool> World<FREEING_RETIRES> {
        /// Another thread has announced `stamp`, and is idle; and blocks were retired at these stamps.
        fn new(stamp: u64, retired: &[u64]) -> (Self, u64) {
            let world = Self::default();
            let now = world.clock.draw(1000 * RENEWAL);
            let [own, _] = [(); 2].map(|()| world.table.take().unwrap().0);
            assert_eq!(own, world.slot());
            world.other().announced.store(stamp, Ordering::Relaxed);
            retired.iter().for_each(|&stamp| world.queue.push(Retired { stamp, block: stamp }));
            (world, now)
        }

        fn other(&self) -> &ThreadDescriptor {
            self.table.get(1)
        }

        /// What was freed by a collection, and how many barriers it has paid.
        fn collect(&self, asked: Idle) -> (Vec<u64>, u32) {
            collect(self, asked);
            (self.freed.take(), self.barriers.take())
        }
    }

    #[test]
    fn a_barrier_is_paid_for_idle_threads_if_that_pays() {
        let (world, now) = World::<false>::new(50, &[49, 50, 51]);
        assert_eq!(world.collect(Idle::Overdue), (vec![49], 0));
        world.pays.set(true);
        world.other().session.store(Descriptor::WORKING, Ordering::Relaxed);
        assert_eq!(world.collect(Idle::Overdue), (vec![], 0), "it runs");
        world.other().session.store(Descriptor::NO_SESSION, Ordering::Relaxed);
        world.another_revokes.set(true);
        assert_eq!(world.collect(Idle::Overdue), (vec![], 0));
        assert_eq!(world.other().announced.load(Ordering::Relaxed) & MARK, 0);
        world.another_revokes.set(false);
        assert_eq!(world.collect(Idle::Overdue), (vec![50, 51], 1));
        assert_eq!(world.other().announced.load(Ordering::Relaxed), NOTHING);
        // All that can be freed: also for a thread that was here lately, but not if there is nothing.
        world.pays.set(false);
        world.other().announced.store(now - 1, Ordering::Relaxed);
        assert_eq!(world.collect(Idle::Inactive), (vec![], 0));
        world.queue.push(Retired { stamp: now - 1, block: 7 });
        assert_eq!(world.collect(Idle::Overdue), (vec![], 0));
        assert_eq!(world.collect(Idle::Inactive), (vec![7], 1));
    }

    #[test]
    fn what_freeing_retires_is_of_the_next_look() {
        let (world, _) = World::<true>::new(50, &[1, 2]);
        world.next.set(Some(3));
        assert_eq!(world.collect(Idle::Overdue), (vec![1, 2, 101], 0));
        // Where nothing is retired when something is freed, one look is enough; but for all that can be freed.
        let (world, _) = World::<false>::new(50, &[1, 2]);
        world.next.set(Some(3));
        assert_eq!((world.collect(Idle::Overdue), world.queue.len()), ((vec![1, 2], 0), 1));
        world.next.set(Some(4));
        assert_eq!((world.collect(Idle::Inactive), world.queue.len()), ((vec![101, 201], 0), 0));
    }

    #[test]
    fn time_passes_if_nothing_is_freed_and_none_commits() {
        let (world, now) = World::<false>::new(50, &[]);
        world.collect(Idle::Overdue);
        assert_eq!(world.clock.now(), now, "nothing waits");
        world.queue.push(Retired { stamp: now - 1, block: 1 });
        world.collect(Idle::Overdue);
        assert_eq!(world.clock.now(), now, "one has committed since");
        world.queue.push(Retired { stamp: now, block: 2 });
        world.collect(Idle::Overdue);
        assert_eq!(world.clock.now(), now + RENEWAL);
        world.other().announced.store(now, Ordering::Relaxed);
        world.queue.push(Retired { stamp: now + RENEWAL, block: 3 });
        assert_eq!(world.collect(Idle::Overdue).0, [1]);
        assert_eq!(world.clock.now(), now + RENEWAL, "something was freed");
    }
}
