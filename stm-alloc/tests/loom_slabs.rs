//! Exhaustive models of slabs: blocks that threads put back and another takes are there once, and in
//! the hands of one thread at a time. Run by `ci/loom.sh`.
#![cfg(contempo_loom)]

use contempo_alloc::heap::slab::{Free, FreeSlabs, HEADER, Magazine, SLAB, Slab};
use contempo_sched::primitives::fault::Fault;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{NonNull, null_mut};

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

const BLOCKS: usize = 3;
const SIZE: usize = 16;

/// A slab with blocks, and a word for each that only its owner may touch.
struct World {
    slabs: FreeSlabs,
    memory: NonNull<u8>,
    owned: [UnsafeCell<u32>; BLOCKS],
}

// SAFETY: the memory is handed about as the blocks are: that is what is checked.
unsafe impl Send for World {}
// SAFETY: a block's word is touched by its owner alone: that is what is checked.
unsafe impl Sync for World {}

fn layout() -> Layout {
    Layout::from_size_align(SLAB, SLAB).unwrap()
}

impl World {
    fn new() -> Arc<Self> {
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc(layout()) }).unwrap();
        // SAFETY: as large and aligned as it must be, and ours until the world is dropped.
        unsafe { Slab::init(memory) };
        Arc::new(World {
            slabs: FreeSlabs::new(),
            memory,
            owned: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    /// Its owner uses a block.
    fn touch(&self, block: usize) {
        // SAFETY: loom reports it if another thread does the same.
        self.owned[block].with_mut(|owned| unsafe { *owned += 1 });
    }

    fn place(&self, block: usize) -> *mut u8 {
        self.memory.as_ptr().wrapping_add(HEADER + block * SIZE)
    }

    /// Its owner gives a block back.
    fn put(&self, block: usize) {
        self.touch(block);
        let head: *mut Free = self.place(block).cast();
        // SAFETY: the block is ours, and a word long at least.
        unsafe { head.write(Free { next: null_mut() }) };
        // SAFETY: the block is ours, and ends the list that it begins.
        unsafe { self.slabs.put(Magazine { head, count: 1 }) };
    }

    /// The blocks that are to be had at this moment.
    fn take(&self) -> Vec<usize> {
        let mut blocks = Vec::new();
        if let Some(taken) = self.slabs.take() {
            let mut next = taken.free.head;
            while !next.is_null() {
                blocks.push((next.addr() - self.memory.as_ptr().addr() - HEADER) / SIZE);
                // SAFETY: taken, so ours.
                next = unsafe { (*next).next };
            }
            assert_eq!(blocks.len(), taken.free.count);
            if !taken.fresh.is_null() {
                blocks.push((taken.fresh.addr() - self.memory.as_ptr().addr() - HEADER) / SIZE);
            }
        }
        blocks.iter().for_each(|block| self.touch(*block));
        blocks
    }

    /// Everything is there, once, when all is quiet.
    fn complete(&self, mut blocks: Vec<usize>) {
        loop {
            let more = self.take();
            if more.is_empty() {
                break;
            }
            blocks.extend(more);
        }
        blocks.sort_unstable();
        assert_eq!(blocks, [0, 1, 2], "blocks were lost, or are there twice");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the last use.
        unsafe { dealloc(self.memory.as_ptr(), layout()) };
    }
}

/// Two threads put back a block, and the rest that was never carved, while a third takes.
#[test]
fn what_is_put_is_taken_once() {
    holds_unless("what_is_put_is_taken_once", 3, &[Fault::SlabUnlistedLate], || {
        let world = World::new();
        world.put(0);
        let putters = [
            thread::spawn({
                let world = world.clone();
                move || world.put(1)
            }),
            thread::spawn({
                let world = world.clone();
                move || {
                    world.touch(2);
                    // SAFETY: no thread has carved it.
                    unsafe { world.slabs.put_fresh(world.place(2)) };
                }
            }),
        ];
        let blocks = world.take();
        for putter in putters {
            putter.join().unwrap();
        }
        world.complete(blocks);
    });
}

/// Two threads take at once, and put back what they took.
#[test]
fn two_takers_do_not_share() {
    holds_unless("two_takers_do_not_share", 3, &[], || {
        let world = World::new();
        for block in 0..BLOCKS {
            world.put(block);
        }
        let other = thread::spawn({
            let world = world.clone();
            move || {
                for block in world.take() {
                    world.put(block);
                }
            }
        });
        for block in world.take() {
            world.put(block);
        }
        other.join().unwrap();
        world.complete(Vec::new());
    });
}
