//! Exhaustive models of taking versions out of the chains of a region, where any thread may do that, and memory is used
//! again while sessions have its handles: run by `ci/loom.sh`.
//!
//! Regions lie in mapped memory, where no checker's atomics can lie. These models run the same functions, `links::Named`,
//! those of meta words, and walks, over words of their own.
#![cfg(contempo_loom)]

use contempo_alloc::region::handle::{self, Handle, Kind, Meta, MetaWord};
use contempo_alloc::region::links::{LinkWord, Named, Previous};
use contempo_alloc::region::sizes::GRAIN;
use contempo_core::Policy;
use contempo_core::domain::{Domain, Link};
use contempo_core::layout::{CellHeader, Links, VersionHeader};
use contempo_core::protocol::read::newest_at;
use contempo_sched::clock::CounterClock;
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::words::{AtomicLockWord, AtomicVersionTag, LockWord, VersionTag};
use loom::sync::Arc;
use loom::thread;

mod planted;
use planted::holds_unless;

/// A link as in a region.
struct ModelLink(LinkWord);

struct Block {
    meta: MetaWord,
    header: VersionHeader<Model>,
}

/// The blocks of a region, and one cell.
struct Model {
    clock: CounterClock,
    table: DescriptorTable,
    blocks: Vec<Block>,
    cell: CellHeader<Model>,
}

// SAFETY: made of atomics.
unsafe impl Send for Model {}
// SAFETY: made of atomics.
unsafe impl Sync for Model {}

impl Links for Model {
    type Link = ModelLink;
}

const PLACE: usize = 4 * GRAIN;

impl Model {
    /// A chain of so many versions: the first has the stamp 2, the next ones 3, 4, and so on; and blocks that are free.
    fn new(many: usize, free: usize) -> Arc<Self> {
        let meta = Meta::free_at(0).in_use(Kind::Version);
        let handle = |at: usize| Handle::new((at + 1) * PLACE, meta);
        let link = |handle: Handle| ModelLink(LinkWord::new(handle.bits()));
        let block = |at: usize| {
            let in_use = at < many;
            let prev = link(if in_use && at > 0 { handle(at - 1) } else { Handle::NULL });
            let stamp = if in_use { at as u64 + 2 } else { 0 };
            let header = VersionHeader {
                version_tag: AtomicVersionTag::new(VersionTag::committed(stamp)),
                prev,
                destroyed: std::sync::atomic::AtomicBool::new(false),
            };
            let meta = if in_use { meta } else { Meta::free_at(0) };
            Block { meta: MetaWord::new(meta.bits()), header }
        };
        Arc::new(Model {
            clock: CounterClock::new(),
            table: DescriptorTable::new(),
            blocks: (0..many + free).map(block).collect(),
            cell: CellHeader {
                value: link(handle(many - 1)),
                lock: AtomicLockWord::new(LockWord::FREE),
            },
        })
    }

    fn handle(&self, at: usize) -> Handle {
        let meta = self.blocks[at].meta.load(Ordering::Relaxed);
        Handle::new((at + 1) * PLACE, Meta::from_bits(meta))
    }

    fn block(&self, handle: Handle) -> &Block {
        &self.blocks[handle.offset() / PLACE - 1]
    }

    fn named(&self, handle: Handle) -> Named<'_> {
        let Block { meta, header } = self.block(handle);
        Named { handle, meta, tag: &header.version_tag, link: &header.prev.0 }
    }

    fn decode(&self, handle: Handle) -> Option<*mut VersionHeader<Model>> {
        if handle == Handle::NULL {
            return None;
        }
        let Block { meta, header } = self.block(handle);
        let meta = Meta::from_bits(meta.load(Ordering::Relaxed));
        let fits = handle.fits_as(meta, Kind::Version);
        fits.then(|| std::ptr::from_ref(header).cast_mut())
    }

    fn at(&self, version: *mut VersionHeader<Model>) -> usize {
        let is_it = |block: &Block| std::ptr::eq(&raw const block.header, version);
        self.blocks.iter().position(is_it).expect("a block of the model")
    }

    /// Takes the version out of its chain, as its judge would: if the version `above` may be led past it.
    fn take_out(&self, above: Handle, version: Handle) {
        let above = self.named(above);
        if above.previous().is_some_and(|it| !it.is_frozen && it.to == version) {
            self.named(version).take_out(above.link);
        }
    }

    /// Frees the block of this version, if that was taken out, as its retirer does.
    fn free(&self, version: Handle) -> bool {
        let named = self.named(version);
        named.is_taken_out() && handle::free(named.meta)
    }

    /// Puts a free block to use: as a version with this stamp that leads there.
    fn fill(&self, at: usize, stamp: u64, prev: Handle) -> Handle {
        let Block { meta, header } = &self.blocks[at];
        assert!(handle::may_fill(meta));
        header.version_tag.store(VersionTag::committed(stamp), Ordering::Relaxed);
        header.prev.0.store(prev.bits(), Ordering::Relaxed);
        Handle::new((at + 1) * PLACE, handle::put_to_use(meta, Kind::Version))
    }

    /// The stamp of what a session with this bound finds, by a walk.
    fn finds(&self, bound: u64) -> u64 {
        // SAFETY: the memory of this model stays to its end.
        let found = unsafe { newest_at(self, &self.cell, bound, VersionTag::committed(0)) };
        // SAFETY: as above.
        let tag = unsafe { &*found.version }.version_tag.load(Ordering::Relaxed);
        tag.stamp().expect("committed")
    }
}

impl Link<Model> for ModelLink {
    fn null() -> Self {
        ModelLink(LinkWord::new(Handle::NULL.bits()))
    }

    fn clear(&self) {
        self.0.store(Handle::NULL.bits(), Ordering::Relaxed);
    }

    fn load(&self, domain: &Model, order: Ordering) -> *mut VersionHeader<Model> {
        let mut handle = Handle::from_bits(self.0.load(order));
        loop {
            if let Some(version) = domain.decode(handle) {
                return version;
            }
            fence(Ordering::Acquire);
            let again = Handle::from_bits(self.0.load(Ordering::Acquire));
            assert_ne!(again, handle, "a link of the cell leads to what is freed");
            handle = again;
        }
    }

    fn previous(&self, domain: &Model, order: Ordering) -> (*mut VersionHeader<Model>, bool) {
        let mut previous = Previous::from_bits(self.0.load(order));
        loop {
            if let Some(version) = domain.decode(previous.to) {
                return (version, previous.is_frozen);
            }
            fence(Ordering::Acquire);
            let again = Previous::from_bits(self.0.load(Ordering::Acquire));
            if again == previous {
                return (std::ptr::null_mut(), previous.is_frozen);
            }
            previous = again;
        }
    }

    fn leads_to(&self, domain: &Model, version: *mut VersionHeader<Model>) -> bool {
        self.previous(domain, Ordering::Acquire) == (version, false)
    }

    fn store(&self, domain: &Model, version: *mut VersionHeader<Model>, order: Ordering) {
        self.0.store(domain.handle(domain.at(version)).bits(), order);
    }

    fn replace(
        &self,
        domain: &Model,
        current: *mut VersionHeader<Model>,
        new: *mut VersionHeader<Model>,
        success: Ordering,
    ) -> bool {
        let [current, new] = [current, new].map(|it| domain.handle(domain.at(it)).bits());
        self.0.compare_exchange(current, new, success, Ordering::Relaxed).is_ok()
    }
}

impl Domain for Model {
    type Clock = CounterClock;
    type Table = DescriptorTable;
    const TRUSTED: bool = false;

    fn clock(&self) -> &CounterClock {
        &self.clock
    }

    fn table(&self) -> &DescriptorTable {
        &self.table
    }

    unsafe fn generation(&self, version: *mut VersionHeader<Self>) -> u64 {
        let meta = &self.blocks[self.at(version)].meta;
        Meta::from_bits(meta.load(Ordering::Acquire)).upper()
    }

    fn policy(&self) -> Policy {
        Policy::default()
    }

    fn preempted_at(&self, _: u32, _: &CellHeader<Self>) {}
}

/// Two threads lead past neighbours, beside a walk. What one of them has taken out may be freed: no link of the chain leads there.
#[test]
fn neighbours_are_taken_out_by_two() {
    holds_unless("neighbours_are_taken_out_by_two", 2, &[Fault::LinkNotFrozen], || {
        let model = Model::new(4, 0);
        let [second, third, last] = [1, 2, 3].map(|at| model.handle(at));
        let other = Arc::clone(&model);
        // (Loom does not look behind a thread's load of a word that it then stores to: which of the two is first counts.)
        let one = thread::spawn(move || other.take_out(last, third));
        let other = Arc::clone(&model);
        let walker = thread::spawn(move || assert_eq!(other.finds(2), 2));
        model.take_out(third, second);
        one.join().unwrap();
        walker.join().unwrap();
        let freed = [second, third].map(|version| model.free(version));
        assert!(freed[1], "it was not led past");
        // Perhaps the second was led past where that did not count.
        model.take_out(last, second);
        assert_eq!(model.finds(2), 2);
        let previous = model.named(last).previous().expect("it leads to a version");
        assert!(!previous.is_frozen && model.decode(previous.to).is_some());
    });
}

/// A walk goes on beside a thread that takes versions out, whose memory becomes the first version of another cell.
#[test]
fn a_walk_finds_what_belongs_to_its_bound() {
    let faults = [Fault::WalkedWithoutLookingAgain];
    holds_unless("a_walk_finds_what_belongs_to_its_bound", 3, &faults, || {
        let model = Model::new(4, 0);
        let [second, third, last] = [1, 2, 3].map(|at| model.handle(at));
        let other = Arc::clone(&model);
        let walker = thread::spawn(move || assert_eq!(other.finds(2), 2));
        model.take_out(last, third);
        if model.free(third) {
            model.fill(2, 2, Handle::NULL);
        }
        model.take_out(last, second);
        walker.join().unwrap();
        assert_eq!(model.named(last).previous().unwrap().to, model.handle(0));
    });
}

/// The head is replaced, taken out, and its memory becomes the first version of another cell, while a walk looks at it.
#[test]
fn a_head_is_the_one_that_was_found() {
    let faults = [Fault::WalkedWithoutLookingAgain];
    holds_unless("a_head_is_the_one_that_was_found", 3, &faults, || {
        let model = Model::new(2, 1);
        let head = model.handle(1);
        let other = Arc::clone(&model);
        let writer = thread::spawn(move || {
            let new = other.fill(2, 4, head);
            other.cell.value.0.store(new.bits(), Ordering::Release);
            other.take_out(new, head);
            if other.free(head) {
                // Of another cell, and then of this one again.
                other.fill(1, 2, Handle::NULL);
            }
        });
        assert_eq!(model.finds(2), 2);
        writer.join().unwrap();
        assert_eq!(model.finds(2), 2);
        assert_eq!(model.finds(4), 4);
    });
}

/// A thread stops while it takes a version out. Others do, and its memory is another version of that cell, which leads to
/// the same one: the link of that is frozen, and nothing else comes of it.
#[test]
fn a_thread_that_comes_late_does_no_harm() {
    holds_unless("a_thread_that_comes_late_does_no_harm", 3, &[], || {
        let model = Model::new(4, 0);
        let [second, third, last] = [1, 2, 3].map(|at| model.handle(at));
        let other = Arc::clone(&model);
        let late = thread::spawn(move || other.take_out(last, third));
        model.take_out(last, third);
        if model.free(third) {
            let new = model.fill(2, 6, last);
            model.cell.value.0.store(new.bits(), Ordering::Release);
            // It leads to the second from now on.
            model.take_out(new, last);
            assert_eq!(model.finds(3), 3);
            late.join().unwrap();
            assert_eq!(model.finds(6), 6);
            // That one may not be led past, if the link is frozen; until the new one is replaced.
            model.take_out(new, second);
        } else {
            late.join().unwrap();
        }
        assert_eq!(model.finds(2), 2);
    });
}
