//! A queue between processes.

use crate::shared::collections::circle::Circle;
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Cell, Interrupt, Reader, Transaction};
use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, PartialEq)]
#[repr(C)]
struct Node<T> {
    next: Cell<Node<T>>,
    value: T,
}

// SAFETY: zero is a null handle and a zeroed value.
unsafe impl<T: Zeroable> Zeroable for Node<T> {}
// SAFETY: `repr(C)`; the handle has 16 bytes, and a value whose size is a multiple of 8
// (`Queue::CHECKED`, asserted where a queue is put together) follows without padding, nor is there any behind it.
unsafe impl<T: Pod> Pod for Node<T> {}

/// A first-in, first-out queue of plain data. [`pop`](Queue::pop) sleeps until another process, or thread,
/// pushes something.
#[derive(Debug)]
pub struct Queue<T: Pod> {
    head: Cell<Cell<Node<T>>>,
    tail: Cell<Cell<Node<T>>>,
}

impl<T: Pod> Clone for Queue<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Pod> Copy for Queue<T> {}

impl<T: Pod> Queue<T> {
    const CHECKED: () = assert!(
        size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8,
        "items of a shared queue are multiples of 8 bytes, aligned to 8 at most"
    );

    /// The two ends of a new queue.
    pub(crate) fn make_ends(tx: &Transaction<'_>) -> Result<[Cell<[u8]>; 2], Interrupt> {
        let none = Cell::<Node<T>>::null();
        let ends = [tx.create(&none)?, tx.create(&none)?];
        Ok(ends.map(|end| Cell::from_words(end.words())))
    }

    /// The queue with these ends.
    pub(crate) fn at(ends: [Cell<[u8]>; 2]) -> Self {
        const { Self::CHECKED };
        let [head, tail] = ends.map(|end| end.words());
        Queue { head: Cell::from_words(head), tail: Cell::from_words(tail) }
    }

    /// Frees the two ends of a queue and all that is between them, whatever its items are. Whatever lies in the
    /// region, each cell is freed once: a second time is an error.
    pub(crate) fn free_cells(tx: &Transaction<'_>, ends: [Cell<[u8]>; 2]) -> Result<(), Interrupt> {
        let mut next = ends[0];
        loop {
            // An end begins with the handle of the first node, and a node with that of the next one.
            let words = tx.read(next)?.get(..size_of::<Cell<()>>());
            let words = words.ok_or_else(|| tx.damaged())?;
            let after: Cell<[u8]> = bytemuck::pod_read_unaligned(words);
            tx.free(next)?;
            if after.is_null() {
                return tx.free(ends[1]);
            }
            next = after;
        }
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-push-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: contempo::shared::collections::Queue<u64> =
    ///    contempo::shared::collections::Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| queue.push(tx, 1))?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> Result<(), Interrupt> {
        let node = tx.create(&Node { next: Cell::null(), value })?;
        let last = tx.read(self.tail)?;
        if last.is_null() {
            tx.write(self.head, &node)?;
        } else {
            let before = tx.read(last)?;
            tx.write(last, &Node { next: node, ..before })?;
        }
        tx.write(self.tail, &node)
    }

    /// Takes the first item, or nothing if there is none.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-trypop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: contempo::shared::collections::Queue<u64> =
    ///    contempo::shared::collections::Queue::root(&shared, "queue")?;
    /// assert_eq!(shared.atomically(|tx| queue.try_pop(tx))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_pop(&self, tx: &Transaction<'_>) -> Result<Option<T>, Interrupt> {
        let first = tx.read(self.head)?;
        if first.is_null() {
            return Ok(None);
        }
        let node = tx.read(first)?;
        tx.write(self.head, &node.next)?;
        if node.next.is_null() {
            tx.write(self.tail, &Cell::null())?;
        }
        tx.free(first)?;
        Ok(Some(node.value))
    }

    /// Calls `each` with every item, from the first on.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-qeach-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: contempo::shared::collections::Queue<u64> =
    ///    contempo::shared::collections::Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| (1..4).try_for_each(|item| queue.push(tx, item)))?;
    /// let mut items = Vec::new();
    /// shared.atomically(|tx| {
    ///    items.clear(); // it may run again
    ///    queue.for_each(tx, |item| items.push(item))
    /// })?;
    /// assert_eq!(items, [1, 2, 3]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each<'a>(
        &self,
        at: &impl Reader<'a>,
        mut each: impl FnMut(T),
    ) -> Result<(), Interrupt> {
        let (mut cell, mut circle) = (at.read(self.head)?, Circle::default());
        while !cell.is_null() {
            if circle.closes_at(cell.words()[0]) {
                return Err(at.damaged());
            }
            let node = at.read(cell)?;
            each(node.value);
            cell = node.next;
        }
        Ok(())
    }

    /// Takes the first item; sleeps until there is one.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-pop-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let queue: contempo::shared::collections::Queue<u64> =
    ///    contempo::shared::collections::Queue::root(&shared, "queue")?;
    /// shared.atomically(|tx| queue.push(tx, 1))?;
    /// assert_eq!(shared.atomically(|tx| queue.pop(tx))?, 1);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop(&self, tx: &Transaction<'_>) -> Result<T, Interrupt> {
        match self.try_pop(tx)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }
}
