//! What waits to be freed: a block, and how to destroy what is in it.

use crate::heap::{BlockCache, LARGEST, Shape};
use crate::reclaim::queue::{Free, Item, Retired};
use std::ptr::NonNull;

/// How blocks of one type are laid out and destroyed. One constant per type.
#[derive(Debug)]
pub struct BlockKind {
    /// Size and alignment of the block, and where such blocks come from.
    pub shape: Shape,
    /// Destroys what is in the block, or nothing to do. May run user code (a destructor), which
    /// may panic or run transactions of its own. May name another block that only this one
    /// referred to, to be destroyed next.
    pub destroy: Option<unsafe fn(NonNull<u8>) -> Option<Block>>,
    /// The same kind for blocks that lie in a static of the program: destroyed, but not returned.
    pub in_static: Option<&'static BlockKind>,
    /// How much it matters that such a block goes soon: see [`weight`].
    pub weight: usize,
    /// May destroying such a block run user code?
    pub has_destructor: bool,
}

/// How blocks of this shape are given back in which there is nothing any more. One for each shape, for ever.
#[cold]
pub(crate) fn memory_alone(shape: Shape) -> &'static BlockKind {
    static KINDS: std::sync::Mutex<Vec<&'static BlockKind>> = std::sync::Mutex::new(Vec::new());
    let mut kinds = KINDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(kind) = kinds.iter().find(|kind| kind.shape == shape) {
        return kind;
    }
    let kind = BlockKind {
        shape,
        destroy: None,
        in_static: None,
        weight: weight(shape.size(), false),
        has_destructor: false,
    };
    kinds.push(Box::leak(Box::new(kind)));
    kinds[kinds.len() - 1]
}

/// Retired weight for which a thread looks at once whether it can free it.
pub const HEAVY: usize = 64 * 1024;

/// The weight of a block that takes so many bytes: nothing if it is small, and there is nothing in it to
/// drop. Its size if it is not small. Always heavy if something in it is to be dropped, since that may
/// hold anything: a file, a sender, a gigabyte.
pub const fn weight(size: usize, has_destructor: bool) -> usize {
    if has_destructor && size < HEAVY {
        HEAVY
    } else if size > LARGEST {
        size
    } else {
        0
    }
}

/// A block and its kind.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where it is.
    pub address: NonNull<u8>,
    /// What it is.
    pub kind: &'static BlockKind,
}

impl Block {
    /// Destroys what is in the block, and names the block that only this one referred to. A panic
    /// of the destructor ends here.
    ///
    /// # Safety
    /// Only the caller can reach the block, and it is destroyed once.
    #[inline(always)]
    pub unsafe fn destroy(self) -> Option<Block> {
        let destroy = self.kind.destroy?;
        let run = || {
            // SAFETY: `destroy` is the function of this block's kind; only the caller can reach the block, and it is
            // destroyed once (`# Safety`).
            unsafe { destroy(self.address) }
        };
        // Under a checker a failed assertion is the checker's to see.
        if contempo_sched::primitives::CHECKED {
            return run();
        }
        contempo_sched::primitives::guard::contain(run).flatten()
    }
}

/// A block that was replaced, and the version that has replaced it: null if it was unlinked by other means than a commit.
#[derive(Clone, Copy, Debug)]
pub struct Replaced {
    /// What waits to be freed.
    pub block: Block,
    /// What this thread has committed over it. Good as [`prune`](crate::reclaim::prune::prune) says.
    pub by: *mut u8,
}

impl Replaced {
    /// Nothing waits here any more.
    pub const NOTHING: Self = {
        const KIND: &BlockKind = &BlockKind {
            shape: Shape::NOT_OURS,
            destroy: None,
            in_static: None,
            weight: 0,
            has_destructor: false,
        };
        let block = Block { address: Self::NOWHERE, kind: KIND };
        Replaced { block, by: std::ptr::null_mut() }
    };
    /// Where no block is.
    const NOWHERE: NonNull<u8> = NonNull::without_provenance(std::num::NonZero::<usize>::MAX);

    /// Does nothing wait here any more?
    pub fn is_nothing(self) -> bool {
        self.block.address == Self::NOWHERE
    }
}

impl Item for Replaced {
    const ONE_EACH: bool = true;

    #[inline(always)]
    fn units(self) -> usize {
        1
    }
}

impl Free<Replaced> for BlockCache {
    #[inline(always)]
    fn is_plain(&self, replaced: Replaced) -> bool {
        self.is_plain(replaced.block)
    }

    #[inline(always)]
    unsafe fn free(&self, replaced: Replaced) {
        // SAFETY: no other thread can reach the block, and it is freed once (`# Safety`, which is the same).
        unsafe { self.free(replaced.block) };
    }

    #[inline(always)]
    unsafe fn free_plain(&self, blocks: &[Retired<Replaced>]) -> usize {
        let mut freed = 0;
        while let Some(first) = blocks.get(freed)
            && self.is_plain(first.block.block)
        {
            // SAFETY: no other thread can reach the block, and it is freed once (`# Safety`).
            unsafe { self.free(first.block.block) };
            freed += 1;
            // Most often those that follow are of the same kind: what is the same for a kind is looked up once.
            let kind = first.block.block.kind;
            // SAFETY: nothing else is done to the cache before it has ended, below.
            let mut run = unsafe { self.release_run(kind.shape) };
            let mut of_the_kind = 0;
            for retired in blocks[freed..].iter().take(run.room()) {
                let block = retired.block.block;
                if !std::ptr::eq(block.kind, kind) {
                    break;
                }
                // SAFETY: no other thread can reach the block, and it is freed once (`# Safety`); there is nothing in it to
                // destroy, and it was allocated with this shape by the heap that this cache is of.
                unsafe { run.release(block.address) };
                of_the_kind += 1;
            }
            run.end();
            freed += of_the_kind;
        }
        freed
    }
}

// SAFETY: the values in blocks are `Send` (the cell's bound on `T`), and a retired block has one
// owner: the list that it is in.
unsafe impl Send for Retired<Block> {}

// SAFETY: as a block, of which it is one owner; the version that has replaced it is only asked for whether it is null, or
// followed as `prune` says.
unsafe impl Send for Retired<Replaced> {}

impl Item for Block {
    const ONE_EACH: bool = true;

    #[inline(always)]
    fn units(self) -> usize {
        1
    }
}

/// Blocks of this process go back to the cache of the thread that frees them.
impl Free<Block> for BlockCache {
    #[inline(always)]
    fn is_plain(&self, block: Block) -> bool {
        block.kind.destroy.is_none()
    }

    /// A panic in a destructor ends here: it has been reported by the panic hook, and belongs to no transaction that
    /// happens to be the one after which memory is reclaimed. What is in the block then leaks.
    #[inline(always)]
    unsafe fn free(&self, block: Block) {
        let mut next = Some(block);
        while let Some(block) = next {
            // SAFETY: only the caller can reach the first block (`# Safety`), so only it can reach a block that nothing
            // but the one before it referred to.
            next = unsafe { block.destroy() };
            // SAFETY: destroyed above; allocated with this shape by the heap that this cache is of.
            unsafe { self.release(block.address, block.kind.shape) };
        }
    }
}
