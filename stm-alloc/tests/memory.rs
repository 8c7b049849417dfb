//! The contract of [`Memory`], for the memory of each world.
#![cfg(not(any(contempo_loom, contempo_shuttle)))]

use contempo_alloc::heap::memory::Memory;
use contempo_alloc::heap::{BlockCache, Shape, SharedHeap};
use std::alloc::Layout;
use std::fmt::Debug;

/// Puts a block of so many bytes to use: where it begins, and what to give back.
type PutToUse<M> = fn(&M, <M as Memory>::Fresh, usize) -> (*mut u8, <M as Memory>::Used);

/// Blocks that are in use, and how to come to them.
struct Blocks<'m, M: Memory> {
    memory: &'m M,
    shape: fn(usize) -> M::Shape,
    put_to_use: PutToUse<M>,
    /// So many bytes at the beginning of a block are not its taker's to write.
    spared: usize,
}

impl<M: Memory<Full: Debug>> Blocks<'_, M> {
    /// Takes so many, and fills each with what no other has.
    fn take(&self, size: usize, many: usize) -> Vec<(*mut u8, M::Used)> {
        let fill = |number: usize| {
            let fresh = self.memory.take((self.shape)(size)).unwrap();
            let (at, used) = (self.put_to_use)(self.memory, fresh, size);
            assert_eq!(at.addr() % 8, 0);
            // SAFETY: the block is as long as that, and ours alone: that is what is checked.
            unsafe { at.add(self.spared).write_bytes(number as u8, size - self.spared) };
            (at, used)
        };
        (0..many).map(fill).collect()
    }

    /// What is in each is what was written there. Gives all of them back.
    fn give_back(&self, size: usize, blocks: Vec<(*mut u8, M::Used)>) {
        for (number, (at, used)) in blocks.into_iter().enumerate() {
            // SAFETY: filled by `take`, and in use until below.
            let bytes = unsafe {
                std::slice::from_raw_parts(at.add(self.spared).cast_const(), size - self.spared)
            };
            assert!(bytes.iter().all(|byte| *byte == number as u8), "another has written here");
            // SAFETY: taken above, and only we know of it; given back once.
            assert!(unsafe { self.memory.give_back(used) });
        }
    }

    /// The contract.
    fn are_kept(&self) {
        for size in [32, 48, 100, 512] {
            let mut places = std::collections::BTreeSet::new();
            for _ in 0..20 {
                let blocks = self.take(size, 1000);
                let mut now: Vec<_> = blocks.iter().map(|(at, _)| at.addr()).collect();
                now.sort_unstable();
                assert!(now.windows(2).all(|pair| pair[1] - pair[0] >= size), "they overlap");
                places.extend(now);
                self.give_back(size, blocks);
            }
            assert!(
                places.len() <= 2000,
                "{} places for 1000 blocks of {size} bytes",
                places.len()
            );
        }
    }
}

#[test]
fn that_of_one_process_keeps_the_contract() {
    let heap: &'static SharedHeap = Box::leak(Box::new(SharedHeap::new()));
    let memory = &BlockCache::new(heap);
    let shape = |size| Shape::new(Layout::from_size_align(size, 8).unwrap());
    let put_to_use = |_: &BlockCache, block: std::ptr::NonNull<u8>, size| {
        (block.as_ptr(), (block, Shape::new(Layout::from_size_align(size, 8).unwrap())))
    };
    Blocks { memory, shape, put_to_use, spared: 0 }.are_kept();
}

#[cfg(all(feature = "region", target_os = "linux", target_pointer_width = "64"))]
mod region {
    use super::Blocks;
    use contempo_alloc::heap::memory::Memory;
    use contempo_alloc::region::blocks::{FreshBlock, SlotHeap};
    use contempo_alloc::region::epoch::OwnershipEpoch;
    use contempo_alloc::region::error::NoBlock;
    use contempo_alloc::region::handle::{Handle, Kind};
    use contempo_alloc::region::layout::Identity;
    use contempo_alloc::region::map::Map;
    use std::fs::File;
    use std::sync::Arc;

    /// The memory of a slot in a region of so many bytes.
    fn slot(name: &str, most: u64) -> SlotHeap {
        let path = std::env::temp_dir().join(format!("contempo-{name}-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let map = Map::create(file, Identity::new(1, 77, 2, 2, most), 0).unwrap();
        map.complete(Handle::NULL, (0, 0));
        std::fs::remove_file(&path).unwrap(); // It stays as long as it is mapped.
        SlotHeap::new(Arc::new(map), OwnershipEpoch::new(0, 1), |_| None)
    }

    fn put_to_use(memory: &SlotHeap, block: FreshBlock, _: usize) -> (*mut u8, *mut u8) {
        memory.put_to_use(&block, Kind::Version);
        (block.at, block.at)
    }

    #[test]
    fn that_of_a_slot_keeps_the_contract() {
        let memory = &slot("memory", 16 << 20);
        Blocks { memory, shape: |size| size, put_to_use, spared: 8 }.are_kept();
    }

    #[test]
    fn a_full_region_says_so_and_takes_back_what_it_has_given() {
        let memory = slot("full", 4 << 20);
        let mut blocks = Vec::new();
        let full = loop {
            match Memory::take(&memory, 512) {
                Ok(fresh) => blocks.push(put_to_use(&memory, fresh, 512).1),
                Err(full) => break full,
            }
        };
        assert!(!matches!(full, NoBlock::TooLarge { .. }), "{full:?}");
        let many = blocks.len();
        for block in blocks {
            // SAFETY: taken above, and only we know of it.
            unsafe {
                assert!(memory.give_back(block));
                assert!(!memory.give_back(block), "it is free already");
            }
        }
        let again = (0..many).filter(|_| {
            let fresh = Memory::take(&memory, 512).expect("as many as there were");
            !put_to_use(&memory, fresh, 512).0.is_null()
        });
        assert_eq!(again.count(), many);
        assert!(matches!(Memory::take(&memory, 1 << 20), Err(NoBlock::TooLarge { .. })));
    }
}
