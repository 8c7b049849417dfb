//! What one thread has retired and not freed yet, in order of stamps.

use std::cell::{Cell, UnsafeCell};
use std::ops::Range;

/// What a world names a block by that waits for its contemporaries.
pub trait Item: Copy {
    /// Does each count as one? Then a queue need not add up.
    const ONE_EACH: bool;

    /// How much the block counts: a thread looks what it can free when so much has come together.
    fn units(self) -> usize;
}

/// A block that no thread can newly reach, and the stamp at which that became so.
#[derive(Clone, Copy, Debug)]
pub struct Retired<B> {
    /// Free it when every announced stamp is above this one.
    pub stamp: u64,
    /// What to free.
    pub block: B,
}

/// How blocks are freed.
///
/// # Contract
/// [`free`](Self::free) may run user code, which may retire more, give all of the queue away, and do anything else
/// with it. To free what [is plain](Self::is_plain) touches no queue.
pub trait Free<B: Copy> {
    /// Is there nothing in the block whose end could come back here? (False also where that is not known.)
    #[inline(always)]
    fn is_plain(&self, _block: B) -> bool {
        false
    }

    /// Frees a block, whatever it is.
    ///
    /// # Safety
    /// No other thread can reach the block, and it is freed once.
    unsafe fn free(&self, block: B);

    /// Frees blocks up to the first that is not [plain](Self::is_plain), and returns how many.
    ///
    /// # Safety
    /// As [`free`](Self::free), for each of them.
    #[inline(always)]
    unsafe fn free_plain(&self, blocks: &[Retired<B>]) -> usize {
        let plain = blocks.iter().take_while(|retired| self.is_plain(retired.block));
        // SAFETY: no other thread can reach the block, and it is freed once (`# Safety`, which is that of `free`).
        plain.map(|retired| unsafe { self.free(retired.block) }).count()
    }
}

/// So many of the oldest blocks of a queue, as long as they are there: what was in it when a look began. Only that
/// may be freed by the look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    many: usize,
    /// How often all of the queue had been given away.
    given_away: u64,
}

impl Batch {
    /// How many are left of it. (More than there are, once the queue was given away.)
    pub fn len(self) -> usize {
        self.many
    }

    /// Is nothing left of it?
    pub fn is_empty(self) -> bool {
        self.many == 0
    }
}

/// Retired blocks in order of their stamps: a vector whose consumed front is cut off now and then.
/// Every method is short and calls nothing that could come back, so it may be used while destructors do.
#[derive(Debug)]
pub struct Queue<B> {
    blocks: UnsafeCell<Vec<Retired<B>>>,
    consumed: Cell<usize>,
    /// How much all of it counts, unless that is one for each.
    units: Cell<usize>,
    /// How often all of it was given away. A destructor that sleeps does so in the middle of a collection, whose
    /// counts mean nothing after that.
    given_away: Cell<u64>,
}

impl<B: Item> Default for Queue<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Item> Queue<B> {
    /// Nothing retired yet.
    pub const fn new() -> Self {
        Queue {
            blocks: UnsafeCell::new(Vec::new()),
            consumed: Cell::new(0),
            units: Cell::new(0),
            given_away: Cell::new(0),
        }
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "private, one thread, never held across a call")]
    fn blocks(&self) -> &mut Vec<Retired<B>> {
        // SAFETY: `!Sync`; each method lets go before it returns and calls nothing in between that could come back.
        unsafe { &mut *self.blocks.get() }
    }

    /// How many blocks wait.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.blocks().len() - self.consumed.get()
    }

    /// Does none wait?
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much they count.
    #[inline(always)]
    pub fn units(&self) -> usize {
        if B::ONE_EACH { self.len() } else { self.units.get() }
    }

    /// So many units wait now: of all that did, and of a block.
    #[inline(always)]
    fn count(&self, block: B, of: impl FnOnce(usize, usize) -> usize) {
        if !B::ONE_EACH {
            self.units.set(of(self.units.get(), block.units()));
        }
    }

    /// The stamp of the block that was retired last, or 0.
    #[inline(always)]
    pub fn newest(&self) -> u64 {
        self.blocks().last().map_or(0, |last| last.stamp)
    }

    /// The block that was retired last, if it waits still.
    pub fn last(&self) -> Option<B> {
        if self.is_empty() { None } else { self.blocks().last().map(|last| last.block) }
    }

    /// The stamp of the block that waits for longest, or `u64::MAX`.
    pub fn oldest(&self) -> u64 {
        self.blocks().get(self.consumed.get()).map_or(u64::MAX, |first| first.stamp)
    }

    /// What waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = Retired<B>> {
        // By place: whatever is done to the queue meanwhile, no reference is kept.
        (self.consumed.get()..).map_while(|at| self.blocks().get(at).copied())
    }

    /// The place, among those that wait, of the first that was retired after this stamp.
    pub fn place_after(&self, stamp: u64) -> usize {
        self.blocks()[self.consumed.get()..].partition_point(|retired| retired.stamp <= stamp)
    }

    /// What waits at these places.
    pub fn items(&self, places: Range<usize>) -> impl Iterator<Item = Retired<B>> {
        let consumed = self.consumed.get();
        // By place: whatever is done to the queue meanwhile, no reference is kept.
        places.map_while(move |at| self.blocks().get(consumed + at).copied())
    }

    /// Looks at `most` of those that wait, from place `from` on (and from the front after the last), and puts others in
    /// their places, if `change` says so. Returns the place after the last.
    pub fn sweep(&self, from: usize, most: usize, mut change: impl FnMut(B) -> Option<B>) -> usize {
        let waiting = &mut self.blocks()[self.consumed.get()..];
        let from = if from < waiting.len() { from } else { 0 };
        let to = waiting.len().min(from + most);
        for retired in &mut waiting[from..to] {
            if let Some(other) = change(retired.block) {
                self.count(retired.block, |all, one| all - one);
                self.count(other, |all, one| all + one);
                retired.block = other;
            }
        }
        to
    }

    /// What waits now: what a look that begins after this may free.
    #[inline(always)]
    pub fn batch(&self) -> Batch {
        Batch { many: self.len(), given_away: self.given_away.get() }
    }

    /// How often all of it was given away.
    #[inline(always)]
    pub fn given_away(&self) -> u64 {
        self.given_away.get()
    }

    /// Retires a block. Stamps of a thread do not fall.
    #[inline(always)]
    pub fn push(&self, retired: Retired<B>) {
        debug_assert!(retired.stamp >= self.newest(), "stamps of a thread fall");
        self.count(retired.block, |all, one| all + one);
        self.blocks().push(retired);
    }

    /// Retires blocks one after the other, at most so many.
    ///
    /// # Safety
    /// Nothing else is done to the queue before that [has ended](Retiring::end).
    #[inline(always)]
    pub unsafe fn retiring(&self, most: usize) -> Retiring<'_, B> {
        let blocks = self.blocks();
        if blocks.capacity() - blocks.len() < most {
            blocks.reserve(most);
        }
        // SAFETY: inside of what the vector has allocated, or at its end.
        let next = unsafe { blocks.as_mut_ptr().add(blocks.len()) };
        Retiring { queue: self, next }
    }

    /// Takes the oldest block, if it was retired before `horizon`.
    #[inline(always)]
    pub fn pop_below(&self, horizon: u64) -> Option<Retired<B>> {
        let consumed = self.consumed.get();
        let &first = self.blocks().get(consumed)?;
        if first.stamp >= horizon {
            return None;
        }
        self.consumed.set(consumed + 1);
        self.count(first.block, |all, one| all - one);
        Some(first)
    }

    /// Takes the only block, if there is one and no more.
    #[inline(always)]
    pub fn take_only(&self) -> Option<Retired<B>> {
        match self.blocks()[..] {
            [only] if self.consumed.get() == 0 => {
                self.clear();
                Some(only)
            }
            _ => None,
        }
    }

    /// Gives all of it away, from the front.
    pub fn give_away(&self) -> impl Iterator<Item = Retired<B>> {
        // Counted first: a collection that is under way goes by counts of blocks that are not here any more.
        self.given_away.set(self.given_away.get() + 1);
        std::iter::from_fn(|| {
            let next = self.pop_below(u64::MAX);
            if next.is_none() {
                self.clear();
            }
            next
        })
    }

    /// Keeps those of which `keep` says so, in order. (A collection that is under way frees none of them.)
    pub fn retain(&self, mut keep: impl FnMut(B) -> bool) {
        let all: Vec<_> = self.give_away().collect();
        all.into_iter().filter(|retired| keep(retired.block)).for_each(|kept| self.push(kept));
    }

    /// Hands out plain blocks, from the front, at most `most`: up to the first that is not below `horizon`, or is not
    /// plain.
    ///
    /// # Safety
    /// No transaction can reach what was retired before `horizon`.
    #[inline(always)]
    unsafe fn drain_plain(&self, horizon: u64, most: usize, freer: &impl Free<B>) -> usize {
        let consumed = self.consumed.get();
        let waiting = &self.blocks()[consumed..];
        let waiting = &waiting[..waiting.len().min(most)];
        // Stamps do not fall (`push`): so all up to there were retired before `horizon`.
        let below = waiting.partition_point(|retired| retired.stamp < horizon);
        // SAFETY: retired before `horizon`, as said above, so no transaction can reach it (`# Safety`). The queue counts it as consumed,
        // below, so it is freed once. (What is plain does not come back here.)
        let plain = unsafe { freer.free_plain(&waiting[..below]) };
        if !B::ONE_EACH {
            waiting[..plain]
                .iter()
                .for_each(|retired| self.count(retired.block, |all, one| all - one));
        }
        self.consumed.set(consumed + plain);
        plain
    }

    /// Forgets all.
    #[inline(always)]
    fn clear(&self) {
        self.blocks().clear();
        self.consumed.set(0);
        if !B::ONE_EACH {
            self.units.set(0);
        }
    }

    /// Cuts off the consumed front once it is half: constant time for each block, on average.
    #[inline(always)]
    pub fn compact(&self) {
        let consumed = self.consumed.get();
        debug_assert!(consumed <= self.blocks().len(), "more was freed than was retired");
        if consumed == self.blocks().len() {
            // Nothing is left, as after most transactions that have replaced what weighs.
            self.clear();
        } else if 2 * consumed >= self.blocks().len() {
            self.blocks().drain(..consumed);
            self.consumed.set(0);
        }
    }

    /// Frees what is left of `batch`, as far as it was retired before `horizon`, and takes that off the batch; returns
    /// how many. None after the queue was given away: what was retired after that is not of the batch.
    ///
    /// # Safety
    /// No transaction can reach what was retired before `horizon`.
    #[inline]
    pub unsafe fn free_below(
        &self,
        horizon: u64,
        batch: &mut Batch,
        freer: &impl Free<B>,
    ) -> usize {
        let mut freed = 0;
        while freed < batch.many
            && self.given_away.get() == batch.given_away
            && let Some(retired) = self.pop_below(horizon)
        {
            freed += 1;
            let is_plain = freer.is_plain(retired.block);
            // SAFETY: it was retired before `horizon`, no transaction can reach it (`# Safety`); and it was taken
            // off the queue, so it is freed once.
            unsafe { freer.free(retired.block) };
            if is_plain {
                // SAFETY: it frees those that follow and were retired before `horizon`, too, which no transaction can reach.
                freed += unsafe { self.drain_plain(horizon, batch.many - freed, freer) };
            }
        }
        batch.many -= freed;
        self.compact();
        freed
    }
}

/// Blocks that are being retired one after the other: what [`Queue::push`] does for each, with the look at the queue done
/// once.
#[derive(Debug)]
#[must_use = "it has to end, or blocks are lost"]
pub struct Retiring<'q, B: Item> {
    queue: &'q Queue<B>,
    /// Where the next one goes: behind those of the vector.
    next: *mut Retired<B>,
}

impl<B: Item> Retiring<'_, B> {
    /// Retires a block. Stamps of a thread do not fall.
    ///
    /// # Safety
    /// No more are retired than was said at the beginning.
    #[inline(always)]
    pub unsafe fn push(&mut self, retired: Retired<B>) {
        debug_assert!(
            self.last().is_none_or(|last| retired.stamp >= last.stamp),
            "stamps of a thread fall"
        );
        self.queue.count(retired.block, |all, one| all + one);
        // SAFETY: there was room for as many as are retired (`# Safety`): this is inside of what the vector has allocated,
        // and behind what is in it.
        unsafe { self.next.write(retired) };
        // SAFETY: what follows a place inside of the allocation is inside of it, or its end.
        self.next = unsafe { self.next.add(1) };
    }

    /// What was retired last. For assertions.
    pub fn last(&self) -> Option<Retired<B>> {
        if self.next.cast_const() == self.queue.blocks().as_ptr() {
            return None;
        }
        // SAFETY: behind the beginning of the vector, so the block before is there, and was written.
        Some(unsafe { *self.next.sub(1) })
    }

    /// What was written is in the queue.
    #[inline(always)]
    pub fn end(self) {
        let blocks = self.queue.blocks();
        // SAFETY: both lie in the one allocation of the vector, or at its end, at whole blocks from its beginning: nothing
        // else was done to it meanwhile (`retiring`).
        let length = unsafe { self.next.offset_from_unsigned(blocks.as_ptr()) };
        debug_assert!(length >= blocks.len(), "something was retired beside this");
        debug_assert!(length <= blocks.capacity(), "more is retired than was said");
        // SAFETY: no more than its capacity, and each block up to there was written.
        unsafe { blocks.set_len(length) };
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    /// Counts as many units as it says.
    impl Item for usize {
        const ONE_EACH: bool = false;

        fn units(self) -> usize {
            self
        }
    }

    /// Notes what was freed; the odd ones are plain.
    struct Freer(std::cell::RefCell<Vec<usize>>);

    impl Free<usize> for Freer {
        fn is_plain(&self, block: usize) -> bool {
            block % 2 == 1
        }

        unsafe fn free(&self, block: usize) {
            self.0.borrow_mut().push(block);
        }
    }

    #[test]
    fn the_queue_hands_out_in_order_and_does_not_grow_with_what_went_through_it() {
        let queue = Queue::<usize>::new();
        let mut next = 0;
        for stamp in 0..100_000 {
            queue.push(Retired { stamp, block: 7 });
            if stamp % 128 == 0 {
                // Half of what is there goes.
                while let Some(first) = queue.pop_below(stamp / 2) {
                    assert_eq!(first.stamp, next);
                    next += 1;
                }
                queue.compact();
                assert!(queue.blocks().len() <= 2 * queue.len() + 1, "the front was not cut off");
            }
        }
        while queue.pop_below(u64::MAX).is_some() {
            next += 1;
        }
        queue.compact();
        assert_eq!((next, queue.len(), queue.blocks().len()), (100_000, 0, 0));
    }

    #[test]
    fn what_is_retired_one_after_the_other_is_in_the_queue_at_the_end() {
        let queue = Queue::<usize>::new();
        let mut expected = Vec::new();
        for (round, many) in [0, 1, 3, 100, 0, 7, 1000].into_iter().enumerate() {
            // SAFETY: nothing else is done to the queue before it has ended.
            let mut retiring = unsafe { queue.retiring(many + round) };
            for block in 0..many {
                // SAFETY: fewer than was said.
                unsafe { retiring.push(Retired { stamp: round as u64, block }) };
                expected.push((round as u64, block));
            }
            retiring.end();
            assert_eq!(queue.units(), expected.iter().map(|(_, block)| block).sum());
            let waiting = queue.waiting().map(|retired| (retired.stamp, retired.block));
            assert_eq!(waiting.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_front_is_cut_off_when_it_is_half() {
        let queue = Queue::<usize>::new();
        (0..10).for_each(|stamp| queue.push(Retired { stamp, block: 7 }));
        let take = |many: usize| {
            (0..many).for_each(|_| assert!(queue.pop_below(u64::MAX).is_some()));
            queue.compact();
            (queue.len(), queue.blocks().len())
        };
        assert_eq!(take(4), (6, 10), "to move six for four would cost more than it brings");
        assert_eq!(take(1), (5, 5));
        assert_eq!(take(0), (5, 5));
        assert_eq!(take(5), (0, 0));
    }

    #[test]
    fn what_is_taken_from_the_middle_counts_no_more() {
        let queue = Queue::<usize>::new();
        let push = |stamp, block| queue.push(Retired { stamp, block });
        for (stamp, block) in [(1, 9), (2, 3), (4, 5), (4, 7), (6, 4)] {
            push(stamp, block);
        }
        assert!(queue.pop_below(2).is_some());
        let places = queue.place_after(2)..queue.place_after(5);
        assert_eq!((queue.place_after(1), places.clone(), queue.place_after(9)), (0, 1..3, 4));
        let at = |places| queue.items(places).map(|item| item.block).collect::<Vec<_>>();
        assert_eq!((at(places.clone()), at(3..9)), (vec![5, 7], vec![4]));
        let swept =
            queue.sweep(places.start, places.len(), |block| (block == 5).then_some(0_usize));
        assert_eq!((swept, queue.len(), queue.units()), (3, 4, 3 + 7 + 4));
        queue.retain(|block| block != 0);
        assert_eq!((at(0..9), queue.units()), (vec![3, 7, 4], 14));
    }

    #[test]
    fn units_are_those_of_what_waits() {
        let (queue, freer) = (Queue::<usize>::new(), Freer(Default::default()));
        let push = |stamp, block| queue.push(Retired { stamp, block });
        for (stamp, block) in [(1, 3), (1, 5), (2, 7), (3, 4), (3, 6), (4, 8)] {
            push(stamp, block);
        }
        assert_eq!((queue.len(), queue.units()), (6, 33));
        // SAFETY: numbers are all that there is.
        let free = |horizon| unsafe { queue.free_below(horizon, &mut queue.batch(), &freer) };
        assert_eq!((free(3), queue.units(), freer.0.take()), (3, 18, vec![3, 5, 7]));
        let mut batch = queue.batch();
        queue.retain(|block| block != 6);
        push(5, 1);
        let waiting = || queue.waiting().map(|retired| (retired.stamp, retired.block));
        assert_eq!(
            (waiting().collect::<Vec<_>>(), queue.units()),
            (vec![(3, 4), (4, 8), (5, 1)], 13)
        );
        // SAFETY: numbers are all that there is.
        let of_before = unsafe { queue.free_below(9, &mut batch, &freer) };
        assert_eq!((of_before, queue.len()), (0, 3), "other blocks than those that were counted");
        assert_eq!((free(9), queue.units(), freer.0.take()), (3, 0, vec![4, 8, 1]));
        push(6, 2);
        assert_eq!((queue.give_away().count(), queue.blocks().len(), queue.units()), (1, 0, 0));
    }
}
