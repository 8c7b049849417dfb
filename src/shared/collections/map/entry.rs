//! The entries of a hash map, and the lists that they form.

use crate::shared::collections::circle::Circle;
use crate::shared::collections::rows::{Node, child};
use crate::shared::{Interrupt, Reader};
use bytemuck::Pod;
use contempo_core::region::LARGEST_VALUE;
use std::marker::PhantomData;

/// An entry: the handle of the next one in its bucket, the value, and the key.
pub(super) struct Entry<K, V> {
    pub(super) next: u64,
    pub(super) key: K,
    pub(super) value: V,
}

impl<K: Pod + Eq, V: Pod> Entry<K, V> {
    const VALUE_AT: usize = 8;
    const KEY_AT: usize = (Self::VALUE_AT + size_of::<V>()).next_multiple_of(8);
    const SIZE: usize = {
        let size = Self::KEY_AT + size_of::<K>();
        assert!(size <= LARGEST_VALUE, "no block in a region has room for such a key and value");
        size
    };

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend(self.next.to_ne_bytes());
        bytes.extend(bytemuck::bytes_of(&self.value));
        bytes.resize(Self::KEY_AT, 0);
        bytes.extend(bytemuck::bytes_of(&self.key));
        bytes
    }

    pub(super) fn of<'r>(at: &impl Reader<'r>, bytes: &[u8]) -> Result<Self, Interrupt> {
        if bytes.len() != Self::SIZE {
            return Err(at.damaged());
        }
        let value = Self::VALUE_AT..Self::VALUE_AT + size_of::<V>();
        Ok(Entry {
            next: bytemuck::pod_read_unaligned(&bytes[..Self::VALUE_AT]),
            key: bytemuck::pod_read_unaligned(&bytes[Self::KEY_AT..]),
            value: bytemuck::pod_read_unaligned(&bytes[value]),
        })
    }
}

/// An entry, and its cell.
pub(super) type Listed<K, V> = (Node, Entry<K, V>);

/// The entries of a bucket, each with its cell.
pub(super) struct List<'r, R, K, V> {
    at: &'r R,
    region: Node,
    next: u64,
    circle: Circle,
    _entries: PhantomData<fn() -> (K, V)>,
}

impl<'r, R, K, V> List<'r, R, K, V> {
    /// The list that begins with the entry `first`, in the region of the cell `region`.
    pub(super) fn new(at: &'r R, region: Node, first: u64) -> Self {
        List { at, region, next: first, circle: Circle::default(), _entries: PhantomData }
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod> List<'_, R, K, V> {
    fn step(&mut self) -> Result<Option<Listed<K, V>>, Interrupt> {
        if self.next == 0 {
            return Ok(None);
        }
        if self.circle.closes_at(self.next) {
            return Err(self.at.damaged());
        }
        let cell = child(self.region, self.next);
        let entry = Entry::of(self.at, self.at.read(cell)?)?;
        self.next = entry.next;
        Ok(Some((cell, entry)))
    }
}

impl<'a, R: Reader<'a>, K: Pod + Eq, V: Pod> Iterator for List<'_, R, K, V> {
    type Item = Result<Listed<K, V>, Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.next = 0;
        }
        step.transpose()
    }
}
