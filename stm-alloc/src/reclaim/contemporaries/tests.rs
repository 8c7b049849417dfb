//! One thread plays them all: reclaimers of several slots, readers that hold something back, and blocks
//! that note in which order they were destroyed. (A block's address is its number, and is never followed.)

use super::session::CONSIDERATE;
use super::*;
use crate::heap::Shape;
use crate::reclaim::announcement::{self, Idle, NOTHING};
use crate::reclaim::collect::{REVOKE_AT, look};
use crate::reclaim::interface::Reclaim;
use crate::reclaim::queue::Batch;
use crate::reclaim::retired::{Block, BlockKind};
use contempo_sched::clock::CounterClock;
use contempo_sched::descriptor::ThreadDescriptor;
use contempo_sched::primitives::Ordering;
use std::cell::RefCell;
use std::num::NonZero;
use std::ptr::NonNull;

mod weighty;

/// Nothing in it to destroy.
const PLAIN: &BlockKind = &BlockKind {
    shape: Shape::NOT_OURS,
    destroy: None,
    in_static: None,
    weight: 0,
    has_destructor: false,
};
/// Notes that it was destroyed.
const NOTED: &BlockKind = &BlockKind { destroy: Some(note), ..*PLAIN };
/// The same, and names the block with the next number.
const CHAINED: &BlockKind = &BlockKind { destroy: Some(note_and_go_on), ..*PLAIN };
/// Weighs as much as it takes for a look.
const WEIGHTY: &BlockKind = &BlockKind { weight: HEAVY, has_destructor: true, ..*NOTED };
/// Three of these do.
const MEDIUM: &BlockKind = &BlockKind { weight: HEAVY / 3 + 1, ..*NOTED };
/// Does what the test has put into [`ON_DESTROY`].
const LOUD: &BlockKind = &BlockKind { destroy: Some(run_what_is_due), ..*PLAIN };

thread_local! {
    static DESTROYED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static ON_DESTROY: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

unsafe fn note(block: NonNull<u8>) -> Option<Block> {
    DESTROYED.with_borrow_mut(|destroyed| destroyed.push(block.addr().get()));
    None
}

unsafe fn note_and_go_on(block: NonNull<u8>) -> Option<Block> {
    // SAFETY: numbers are all that there is.
    unsafe { note(block) };
    Some(numbered(block.addr().get() + 1, NOTED))
}

unsafe fn run_what_is_due(block: NonNull<u8>) -> Option<Block> {
    // SAFETY: numbers are all that there is.
    unsafe { note(block) };
    if let Some(due) = ON_DESTROY.take() {
        due();
    }
    None
}

/// The numbers of the blocks that were destroyed since this was asked last, in order.
fn destroyed() -> Vec<usize> {
    DESTROYED.take()
}

fn numbered(number: usize, kind: &'static BlockKind) -> Block {
    let number = NonZero::new(number).expect("numbers begin at 1");
    Block { address: NonNull::without_provenance(number), kind }
}

const RENEWAL: u64 = CounterClock::RENEWAL;

/// A domain. (Reclaimers live as long as the process, so it does, too.)
struct World {
    domain: &'static ReclaimDomain,
    table: &'static DescriptorTable,
    clock: &'static CounterClock,
}

impl World {
    fn new() -> Self {
        World {
            domain: Box::leak(Box::default()),
            table: Box::leak(Box::default()),
            clock: Box::leak(Box::default()),
        }
    }

    fn reclaimer(&self) -> &'static Reclaimer<CounterClock> {
        let slot = self.table.take().unwrap().0;
        Box::leak(Box::new(Reclaimer::new(self.domain, self.table, self.clock, slot)))
    }

    /// A thread that has announced this stamp, and runs nothing.
    fn announced(&self, stamp: u64) -> &'static ThreadDescriptor {
        let descriptor = self.table.take().unwrap().1;
        descriptor.announced.store(stamp, Ordering::Relaxed);
        descriptor
    }

    /// The same, inside a transaction.
    fn running(&self, stamp: u64) -> &'static ThreadDescriptor {
        let descriptor = self.announced(stamp);
        descriptor.session.store(Descriptor::WORKING, Ordering::Relaxed);
        descriptor
    }
}

/// What no version has replaced.
fn alone(block: Block) -> Replaced {
    Replaced { block, by: std::ptr::null_mut() }
}

fn retire(by: &Reclaimer<CounterClock>, stamp: u64, number: usize, kind: &'static BlockKind) {
    // SAFETY: no thread can reach what is no memory.
    unsafe { by.retire(stamp, numbered(number, kind), std::ptr::null_mut()) };
}

/// Retires so many blocks at `stamp`, numbered from 1.
fn retire_many(by: &Reclaimer<CounterClock>, stamp: u64, many: usize) {
    (1..=many).for_each(|number| retire(by, stamp, number, NOTED));
}

fn reclaimed(by: &Reclaimer<CounterClock>) -> u64 {
    by.descriptor.counters.reclaimed.get()
}

fn barriers(by: &Reclaimer<CounterClock>) -> u64 {
    by.descriptor.counters.barriers.get()
}

#[test]
fn a_transaction_begins_at_the_clock_or_at_what_its_thread_knows() {
    let world = World::new();
    let own = world.reclaimer();
    let first = own.enter();
    assert_eq!(first, world.clock.now());
    assert!(own.descriptor.is_active(Ordering::Relaxed));
    own.exit();
    assert!(!own.descriptor.is_active(Ordering::Relaxed));
    let drawn = world.clock.draw(1);
    own.has_drawn(drawn);
    world.clock.draw(1);
    assert_eq!(own.enter_recent(), drawn);
    own.exit();
    assert_eq!(own.enter(), world.clock.now());
    own.exit();
    assert_eq!(own.descriptor.announced.load(Ordering::Relaxed), first);
    own.withdraw();
    assert_eq!(own.descriptor.announced.load(Ordering::Relaxed), NOTHING);
}

#[test]
fn what_lies_below_every_announcement_is_freed_in_order() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(10 * RENEWAL);
    let (older, younger) = (world.running(now - 5), world.running(now - 3));
    // One's own announcement does not count.
    own.descriptor.announced.store(1, Ordering::Relaxed);
    let stamps = [now - 7, now - 6, now - 6, now - 5, now - 4, now - 3, now - 2];
    let kinds = [NOTED, PLAIN, PLAIN, NOTED, PLAIN, NOTED, CHAINED];
    for (index, (stamp, kind)) in stamps.into_iter().zip(kinds).enumerate() {
        retire(own, stamp, index + 1, kind);
    }
    assert_eq!(own.retired.newest(), now - 2);
    own.collect();
    assert_eq!((destroyed(), own.retired.len(), reclaimed(own)), (vec![1], 4, 3));
    own.collect();
    assert_eq!((destroyed(), own.retired.len()), (vec![], 4), "nothing has changed");
    announcement::end(older);
    announcement::withdraw(older);
    own.collect();
    assert_eq!((destroyed(), own.retired.len(), reclaimed(own)), (vec![4], 2, 5));
    announcement::withdraw(younger);
    own.collect();
    assert_eq!((destroyed(), own.retired.len(), reclaimed(own)), (vec![6, 7, 8], 0, 7));
    assert_eq!((barriers(own), own.retired.newest()), (0, 0));
}

#[test]
fn what_is_unreachable_now_waits_for_transactions_that_run_now() {
    let world = World::new();
    let (own, reader) = (world.reclaimer(), world.reclaimer());
    world.clock.draw(7);
    reader.enter();
    // SAFETY: no thread can reach what is no memory.
    unsafe { own.retire_now(numbered(1, NOTED)) };
    assert_eq!(own.retired.newest(), world.clock.now());
    assert_eq!(own.descriptor.counters.retired.get(), 1);
    world.clock.draw(1);
    own.collect();
    assert_eq!(destroyed(), []);
    reader.exit();
    reader.withdraw();
    own.collect();
    assert_eq!(destroyed(), [1]);
}

#[test]
fn a_look_is_due_when_it_can_free_enough() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(10);
    let reader = world.running(now);
    retire_many(own, now, BATCH - 1);
    assert!(!own.is_due());
    retire(own, now, 1, NOTED);
    assert!(own.is_due());
    world.clock.draw(1); // Somebody commits.
    own.collect();
    assert_eq!(destroyed(), []);
    // As many again.
    retire_many(own, now, BATCH - 1);
    assert!(!own.is_due());
    retire(own, now, 1, NOTED);
    assert!(own.is_due());
    announcement::withdraw(reader);
    own.collect();
    assert_eq!(destroyed().len(), 2 * BATCH);
    // With many threads a look costs more.
    (2..BATCH).for_each(|_| {
        world.announced(NOTHING);
    });
    assert_eq!(world.table.len(), BATCH);
    own.collect();
    retire_many(own, now, 2 * BATCH - 1);
    assert!(!own.is_due());
    retire(own, now, 1, NOTED);
    assert!(own.is_due());
}

#[test]
fn an_idle_thread_is_worth_a_barrier_when_it_holds_much() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(1000 * RENEWAL);
    let idle = world.announced(1);
    retire_many(own, now - 1, REVOKE_AT - 1);
    own.collect();
    assert_eq!((destroyed().len(), barriers(own)), (0, 0));
    retire(own, now - 1, REVOKE_AT, NOTED);
    own.collect();
    assert_eq!(destroyed(), (1..=REVOKE_AT).collect::<Vec<_>>());
    assert_eq!((barriers(own), reclaimed(own)), (1, REVOKE_AT as u64));
    assert_eq!(idle.announced.load(Ordering::Relaxed), NOTHING);
    // What was freed without the barrier does not count.
    idle.announced.store(2, Ordering::Relaxed);
    (1..=10).for_each(|number| retire(own, 1, number, NOTED));
    retire_many(own, now - 1, REVOKE_AT - 1);
    own.collect();
    assert_eq!((destroyed().len(), barriers(own)), (10, 1));
    // Nor is one revoked that was here lately, or that runs.
    retire_many(own, now - 1, 10);
    idle.announced.store(now - 2, Ordering::Relaxed);
    own.collect();
    idle.announced.store(2, Ordering::Relaxed);
    idle.session.store(Descriptor::WORKING, Ordering::Relaxed);
    own.collect();
    assert_eq!((destroyed().len(), barriers(own)), (0, 1));
    idle.session.store(Descriptor::NO_SESSION, Ordering::Relaxed);
    own.collect();
    assert_eq!((destroyed().len(), barriers(own)), (REVOKE_AT + 9, 2));
}

#[test]
fn a_thorough_look_pays_for_a_barrier_if_that_frees_anything() {
    let world = World::new();
    let (own, other) = (world.reclaimer(), world.reclaimer());
    let now = world.clock.draw(10);
    let idle = world.announced(now - 2);
    own.collect_thoroughly();
    assert_eq!(barriers(own), 0, "there is nothing to free");
    retire(own, now - 3, 1, NOTED);
    own.collect_thoroughly();
    assert_eq!((destroyed(), barriers(own)), (vec![1], 0), "it is free already");
    retire(own, now - 3, 2, NOTED);
    retire(own, now - 1, 3, NOTED);
    own.collect_thoroughly();
    assert_eq!((destroyed(), barriers(own), reclaimed(own)), (vec![2, 3], 1, 3));
    // What others have left counts, too.
    idle.announced.store(now - 2, Ordering::Relaxed);
    retire(other, now - 1, 4, NOTED);
    other.hand_over();
    assert_eq!(destroyed(), []);
    own.collect_thoroughly();
    assert_eq!((destroyed(), barriers(own)), (vec![4], 2));
    idle.announced.store(now - 2, Ordering::Relaxed);
    own.collect_thoroughly();
    assert_eq!(barriers(own), 2);
    // One that runs is left alone.
    retire(own, now - 1, 5, NOTED);
    idle.session.store(Descriptor::WORKING, Ordering::Relaxed);
    own.collect_thoroughly();
    assert_eq!((destroyed(), barriers(own)), (vec![], 2));
}

#[test]
fn time_passes_while_no_thread_commits() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(10);
    let reader = world.running(now - 5);
    own.collect();
    assert_eq!(world.clock.now(), now, "nothing is held");
    retire(own, now - 1, 1, NOTED);
    own.collect();
    assert_eq!(world.clock.now(), now, "somebody has committed since");
    retire(own, now, 2, NOTED);
    own.collect();
    assert_eq!(world.clock.now(), now + RENEWAL);
    own.collect();
    assert_eq!(world.clock.now(), now + RENEWAL);
    retire(own, now + RENEWAL, 3, NOTED);
    reader.announced.store(now + RENEWAL, Ordering::Relaxed);
    assert_eq!(destroyed(), []);
    look(own, Idle::Overdue);
    assert_eq!((destroyed(), world.clock.now()), (vec![1, 2], now + RENEWAL), "some were freed");
}

#[test]
fn what_is_left_behind_is_freed_by_others() {
    let world = World::new();
    let (own, leaver) = (world.reclaimer(), world.reclaimer());
    let now = world.clock.draw(10);
    let reader = world.running(now - 5);
    leaver.descriptor.announced.store(now, Ordering::Relaxed);
    for (stamp, number) in [(now - 6, 1), (now - 5, 2), (now - 4, 3), (now, 4)] {
        retire(leaver, stamp, number, NOTED);
    }
    assert!(!own.is_due());
    leaver.hand_over();
    assert_eq!(destroyed(), [1], "what it can free, it frees itself");
    assert_eq!(leaver.descriptor.announced.load(Ordering::Relaxed), NOTHING);
    let oldest = || world.domain.leftovers.oldest().all();
    assert_eq!((leaver.retired.len(), oldest()), (0, now - 5));
    assert!(own.is_due(), "something is left");
    own.collect();
    assert!(!own.is_due() && destroyed().is_empty(), "the reader holds it");
    reader.announced.store(now - 4, Ordering::Relaxed);
    own.collect();
    assert_eq!((destroyed(), oldest(), reclaimed(own)), (vec![2], now - 4, 1));
    reader.announced.store(now - 3, Ordering::Relaxed);
    own.collect();
    assert_eq!((destroyed(), oldest()), (vec![3], now));
    announcement::withdraw(reader);
    own.collect();
    assert_eq!((destroyed(), oldest(), reclaimed(own)), (vec![4], u64::MAX, 3));
    // Nothing to leave, nobody to tell.
    leaver.hand_over();
    assert!(!own.is_due());
}

#[test]
fn what_was_left_after_a_look_is_held_by_transactions_that_began_before() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(10);
    let orphans = [(now - 6, 1), (now - 5, 2), (now - 4, 3)]
        .map(|(stamp, number)| Retired { stamp, block: alone(numbered(number, NOTED)) });
    let _ = world.domain.leftovers.leave(7, orphans.into_iter());
    world.running(now - 5);
    // The horizon of a look at which nobody held anything.
    assert_eq!(own.free_leftovers(u64::MAX), 1);
    assert_eq!(destroyed(), [1]);
    assert_eq!(world.domain.leftovers.oldest().all(), now - 5);
    assert_eq!(own.free_leftovers(now - 5), 0, "not before the oldest");
    assert_eq!(world.domain.leftovers.take_below(u64::MAX).len(), 2);
}

#[test]
fn no_more_are_freed_than_were_there_at_the_look() {
    let world = World::new();
    let own = world.reclaimer();
    let free = |horizon: u64, batch: &mut Batch| {
        // SAFETY: no thread can reach what is no memory.
        (unsafe { own.free_from(&own.retired, horizon, batch) }, own.retired.len())
    };
    [NOTED, PLAIN].into_iter().zip(1..).for_each(|(kind, number)| retire(own, 5, number, kind));
    let mut two = own.retired.batch();
    [PLAIN, NOTED, NOTED]
        .into_iter()
        .zip(3..)
        .for_each(|(kind, number)| retire(own, 5, number, kind));
    assert_eq!((free(5, &mut two), two.len()), ((0, 5), 2), "at the horizon");
    assert_eq!((free(6, &mut two), two.is_empty()), ((2, 3), true));
    assert_eq!(free(6, &mut two), (0, 3), "nothing is left of it");
    assert_eq!((free(6, &mut own.retired.batch()), destroyed()), ((3, 0), vec![1, 4, 5]));
    assert_eq!(reclaimed(own), 5);
    // Plain ones in a row are taken together, up to the first that is not, or is above.
    for (stamp, kind) in [(5, PLAIN), (5, PLAIN), (6, PLAIN), (6, NOTED), (7, PLAIN)] {
        retire(own, stamp, 9, kind);
    }
    let mut all = own.retired.batch();
    assert_eq!(free(6, &mut all), (2, 3));
    assert_eq!(free(7, &mut all), (2, 1));
    assert_eq!((free(8, &mut all), all.is_empty()), ((1, 0), true));
    [5, 7, 8].into_iter().for_each(|stamp| retire(own, stamp, 9, PLAIN));
    assert_eq!(free(6, &mut own.retired.batch()), (1, 2), "what is above stays");
    // What was given away is not to be freed here, nor what came after that.
    let mut two = own.retired.batch();
    assert_eq!(own.retired.give_away().count(), 2);
    retire(own, 5, 10, NOTED);
    assert_eq!((free(9, &mut two), destroyed()), ((0, 1), vec![9]));
}

#[test]
fn a_destructor_may_retire_more_and_collect() {
    let world = World::new();
    let own = world.reclaimer();
    world.clock.draw(10);
    ON_DESTROY.set(Some(Box::new(move || {
        retire(own, 3, 2, NOTED);
        own.collect(); // Does nothing: whoever runs this comes round to it.
        assert_eq!(DESTROYED.with_borrow(Clone::clone), [1]);
    })));
    retire(own, 3, 1, LOUD);
    own.collect();
    assert_eq!((destroyed(), own.retired.len()), (vec![1, 2], 0));
    // The same, where it took a barrier to free the first.
    let idle = world.announced(2);
    ON_DESTROY.set(Some(Box::new(move || retire(own, 4, 2, NOTED))));
    retire(own, 3, 1, LOUD);
    own.collect_thoroughly();
    assert_eq!((destroyed(), own.retired.len(), barriers(own)), (vec![1, 2], 0, 1));
    assert_eq!(idle.announced.load(Ordering::Relaxed), NOTHING);
    // One that panics is reported, and stops nobody.
    ON_DESTROY.set(Some(Box::new(|| panic!("in the destructor of a test"))));
    retire(own, 3, 3, LOUD);
    retire(own, 3, 4, NOTED);
    own.collect();
    retire(own, 3, 5, NOTED);
    own.collect();
    assert_eq!(destroyed(), [3, 4, 5]);
}

#[test]
fn a_thread_that_is_revoked_again_and_again_withdraws_by_itself() {
    let world = World::new();
    let (own, other) = (world.reclaimer(), world.reclaimer());
    let transaction = || {
        other.enter();
        other.descriptor.counters.read_only.add(1);
        other.exit();
        if other.is_due() {
            other.tidy();
        }
    };
    let store = |number| {
        retire(own, world.clock.draw(1), number, WEIGHTY);
        own.tidy();
    };
    for number in 1..=1000 {
        transaction();
        store(number);
        assert_eq!(destroyed(), [number]);
    }
    assert!((1..=6).contains(&barriers(own)), "{}", barriers(own));
    // Not if it makes many transactions between.
    let before = barriers(own);
    (0..100 * CONSIDERATE).for_each(|_| transaction());
    store(1);
    (0..100 * CONSIDERATE).for_each(|_| transaction());
    store(1);
    assert_eq!(other.considerate.get(), 0);
    assert_eq!((destroyed(), barriers(own) - before), (vec![1, 1], 2));
}

#[test]
fn what_is_retired_after_all_was_given_away_waits_for_a_new_look() {
    for last in [NOTED, PLAIN, WEIGHTY] {
        let world = World::new();
        let own = world.reclaimer();
        let now = world.clock.draw(1);
        retire(own, now, 1, LOUD);
        retire(own, now, 2, NOTED);
        // The destructor of the first sleeps, so its thread hands over; a reader begins meanwhile, and then
        // the destructor replaces what that reader sees.
        ON_DESTROY.set(Some(Box::new(move || {
            own.hand_over();
            let before = world.clock.now();
            world.running(before);
            retire(own, world.clock.draw(1), 3, last);
        })));
        own.collect();
        assert!(!destroyed().contains(&3), "a reader holds it: {last:?}");
        let kept = own.retired.len() + own.weighty.len();
        let left = own.domain.leftovers.oldest().all() < u64::MAX;
        assert!(kept == 1 || left, "and it was not forgotten");
    }
}
