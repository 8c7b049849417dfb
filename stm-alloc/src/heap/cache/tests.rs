use super::*;

fn heap() -> &'static SharedHeap {
    Box::leak(Box::new(SharedHeap::new()))
}

#[test]
fn a_block_comes_back_warm() {
    let cache = BlockCache::new(heap());
    let layout = Shape::new(Layout::from_size_align(24, 8).unwrap());
    let block = cache.allocate(layout);
    // SAFETY: just allocated, not used again by us.
    unsafe { cache.release(block, layout) };
    assert_eq!(cache.allocate(layout), block);
}

#[test]
fn what_comes_back_in_a_run_comes_back_as_one_by_one() {
    for (size, many) in [(24, 1000), (24, 3 * MAGAZINE / 24), (512, 300), (4096, 3)] {
        let (cache, shape) =
            (BlockCache::new(heap()), Shape::new(Layout::from_size_align(size, 8).unwrap()));
        let blocks: Vec<_> = (0..many).map(|_| cache.allocate(shape)).collect();
        let mut left = &blocks[..];
        while let [first, rest @ ..] = left {
            // SAFETY: just allocated with this shape, released once.
            unsafe { cache.release(*first, shape) };
            // SAFETY: nothing else is done to the cache before it has ended.
            let mut run = unsafe { cache.release_run(shape) };
            let (fitting, after) = rest.split_at(run.room().min(rest.len()));
            for block in fitting {
                // SAFETY: just allocated with this shape, released once, and there is room.
                unsafe { run.release(*block) };
            }
            run.end();
            left = after;
        }
        if shape.class != 0 {
            let list = &cache.classes[shape.class as usize];
            assert!(list.count.get() < list.full, "the list in use is full");
            let in_reserve = list.spare.get().count;
            let kept = list.count.get() + in_reserve;
            assert!(in_reserve == 0 || in_reserve == list.full, "a list in reserve is a full one");
            assert!(kept == many || many >= 2 * list.full, "{kept} of {many}");
            let mut again: Vec<_> = (0..kept).map(|_| cache.allocate(shape)).collect();
            again.sort_unstable();
            again.dedup();
            assert_eq!(again.len(), kept, "a block is given out twice");
            assert!(again.iter().all(|block| blocks.contains(block)), "of another's");
        }
    }
}

#[test]
fn what_is_freed_together_goes_to_the_lists_of_its_kinds() {
    use crate::reclaim::queue::{Free, Retired};
    use crate::reclaim::retired::{Block, BlockKind, Replaced};
    unsafe fn nothing(_: NonNull<u8>) -> Option<Block> {
        None
    }
    const fn kind(
        size: usize,
        destroy: Option<unsafe fn(NonNull<u8>) -> Option<Block>>,
    ) -> BlockKind {
        let shape = match Layout::from_size_align(size, 8) {
            Ok(layout) => Shape::new(layout),
            Err(_) => panic!("a layout"),
        };
        BlockKind { shape, destroy, in_static: None, weight: 0, has_destructor: false }
    }
    static KINDS: [BlockKind; 3] = [kind(24, None), kind(32, None), kind(24, Some(nothing))];
    let cache = BlockCache::new(heap());
    let retired = |of: usize| {
        let block = Block { address: cache.allocate(KINDS[of].shape), kind: &KINDS[of] };
        Retired { stamp: 1, block: Replaced { block, by: null_mut() } }
    };
    // Runs of one kind, of another of other size, and one that is not plain.
    let blocks = [0, 0, 0, 1, 1, 0, 1, 0, 2, 0].map(retired);
    let freed = [(0, 8), (8, 0), (9, 1)].map(|(from, expected)| {
        // SAFETY: just allocated, and freed once: each time up to the one that is not plain.
        assert_eq!(unsafe { cache.free_plain(&blocks[from..]) }, expected);
        expected
    });
    assert_eq!(freed.iter().sum::<usize>(), 9);
    let mut left: Vec<_> =
        blocks.iter().map(|it| (it.block.block.address, it.block.block.kind.shape)).collect();
    left.remove(8);
    for of in [0, 0, 0, 0, 0, 0, 1, 1, 1] {
        let again = (cache.allocate(KINDS[of].shape), KINDS[of].shape);
        let at =
            left.iter().position(|it| *it == again).expect("a block of this kind, that was freed");
        left.remove(at);
    }
    assert!(left.is_empty());
}

#[test]
fn what_was_kept_becomes_versions_and_nothing_else() {
    for size in [24, 4096] {
        let cache = BlockCache::new(heap());
        let shape = Shape::new(Layout::from_size_align(size, 8).unwrap());
        let block = cache.allocate_version(shape);
        // SAFETY: just allocated, and looked at by no thread.
        unsafe { cache.keep(std::iter::once((block, shape))) };
        assert_ne!(cache.allocate(shape), block);
        assert_eq!(cache.allocate_version(shape), block);
        assert_ne!(cache.allocate_version(shape), block);
        // SAFETY: as above.
        unsafe { cache.keep(std::iter::once((block, shape))) };
        assert_eq!(cache.give_away_kept().collect::<Vec<_>>(), [(block, shape)]);
        assert_ne!(cache.allocate_version(shape), block);
    }
}

#[test]
fn blocks_are_distinct_aligned_and_survive_overflow() {
    let shared = heap();
    for (size, align) in [(24, 8), (48, 16), (512, 8), (4096, 64)] {
        let cache = BlockCache::new(shared);
        let layout = Shape::new(Layout::from_size_align(size, align).unwrap());
        let many = 3 * MAGAZINE / size + 10;
        let blocks: Vec<_> = (0..many).map(|_| cache.allocate(layout)).collect();
        let mut addresses: Vec<usize> = blocks.iter().map(|b| b.as_ptr().addr()).collect();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= size));
        assert!(addresses.iter().all(|address| address % align == 0));
        for block in blocks {
            // SAFETY: allocated above with this layout; released once.
            unsafe { cache.release(block, layout) };
        }
    }
}

#[test]
fn what_one_thread_frees_another_can_use() {
    let shared = heap();
    let layout = Shape::new(Layout::from_size_align(32, 8).unwrap());
    let first = BlockCache::new(shared);
    let block = first.allocate(layout);
    // SAFETY: just allocated, not used again by us.
    unsafe { first.release(block, layout) };
    drop(first);
    let second = BlockCache::new(shared);
    let slab: Vec<_> = (0..(SLAB - HEADER) / 32).map(|_| second.allocate(layout)).collect();
    assert!(slab.contains(&block), "the first thread's list was passed on");
    assert_eq!(shared.chunks.lock().unwrap().left, SLABS_PER_CHUNK - 1);
}

#[test]
fn what_was_freed_in_disorder_comes_back_slab_by_slab() {
    let cache = BlockCache::new(heap());
    let shape = Shape::new(Layout::from_size_align(24, 8).unwrap());
    let mut blocks: Vec<_> = (0..100_000).map(|_| cache.allocate(shape)).collect();
    // In an order that jumps from slab to slab.
    for n in 0..blocks.len() {
        blocks.swap(n, (n * 7919 + 13) % 100_000);
    }
    for block in &blocks {
        // SAFETY: allocated above with this shape; released once.
        unsafe { cache.release(*block, shape) };
    }
    let slab_of = |block: NonNull<u8>| block.as_ptr().addr() / SLAB;
    // Past what this thread has kept for itself.
    for _ in 0..2 * MAGAZINE / 24 {
        cache.allocate(shape);
    }
    let again: Vec<_> = (0..10_000).map(|_| slab_of(cache.allocate(shape))).collect();
    let changes = again.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes < 100, "{changes} changes of the slab in 10,000 blocks");
}

/// Found by the soak: threads that come and go once cost a new slab each, some of the time.
#[test]
fn threads_that_come_and_go_use_the_same_slabs() {
    let shared = heap();
    let shapes = [24, 48].map(|size| Shape::new(Layout::from_size_align(size, 8).unwrap()));
    let live_and_end = || {
        let cache = BlockCache::new(shared);
        for shape in shapes {
            let blocks: Vec<_> = (0..3000).map(|_| cache.allocate(shape)).collect();
            for block in blocks {
                // SAFETY: allocated above with this shape; released once.
                unsafe { cache.release(block, shape) };
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| live_and_end()));
        }
    });
    let chunks = shared.chunks.lock().unwrap();
    let slabs = chunks.all.len() * SLABS_PER_CHUNK - chunks.left;
    // Four threads at a time need 2 slabs of the one class and 3 of the other. A taker that is
    // stopped by the system costs some: 19 in all on a quiet machine, 121 were seen on a busy one.
    // The fault cost more than a thousand.
    assert!(slabs < 500, "{slabs} slabs for 2,000 threads, 4 at a time");
}
