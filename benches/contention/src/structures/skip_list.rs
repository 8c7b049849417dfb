//! A sorted map of transactional variables: a skip list.
//!
//! Every link is a variable, as is every value. So transactions on different keys conflict only
//! where one of them inserts or removes next to the other. How high a node is depends on its key
//! alone: the same for every memory and in every run.

use crate::contenders::transactional::{Access, Stm, Value};
use std::ops::Bound;
use std::sync::Arc;

/// Enough for some millions of entries, of which a quarter goes up at each level.
const LEVELS: usize = 11;

/// What follows a node at some level.
type Link<S, V> = Option<Arc<Node<S, V>>>;

/// One entry.
pub(crate) struct Node<S: Stm, V: Value> {
    pub(crate) key: u64,
    pub(crate) value: S::Var<V>,
    /// From the lowest level up.
    next: Vec<S::Var<Link<S, V>>>,
}

// SAFETY: a node has a number and variables; `Stm` demands of every variable that it can be sent and
// shared. The compiler cannot see that by itself: whether a variable may hold a link depends on
// whether a node can be sent and shared, which is what is asked.
unsafe impl<S: Stm, V: Value> Send for Node<S, V> {}
// SAFETY: a node has a number and variables, and every variable of an `Stm` can be shared.
unsafe impl<S: Stm, V: Value> Sync for Node<S, V> {}

/// A sorted map.
pub(crate) struct SkipList<S: Stm, V: Value> {
    head: Vec<S::Var<Link<S, V>>>,
}

/// What reading a link gives: a reference, or a link of one's own.
type LinkRef<'a, S, V> = <S as Stm>::Ref<'a, Link<S, V>>;

/// Where a walk is: before the first node, or at one. The link is never empty.
struct Place<'a, S: Stm, V: Value>(Option<LinkRef<'a, S, V>>);

impl<S: Stm, V: Value> Place<'_, S, V> {
    fn node(&self) -> Option<&Arc<Node<S, V>>> {
        self.0.as_ref().and_then(|link| link.as_ref())
    }

    fn tower<'s>(&'s self, list: &'s SkipList<S, V>) -> &'s [S::Var<Link<S, V>>] {
        self.node().map_or(&list.head, |node| &node.next)
    }
}

/// The height of the node with this key.
fn height(key: u64) -> usize {
    // The finaliser of MurmurHash3: every bit of the key tells in every bit of the result.
    let mut mixed = key ^ (key >> 33);
    mixed = mixed.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    mixed ^= mixed >> 33;
    (1 + mixed.trailing_zeros() as usize / 2).min(LEVELS)
}

impl<S: Stm, V: Value> SkipList<S, V> {
    /// An empty one.
    pub(crate) fn new() -> Self {
        SkipList { head: (0..LEVELS).map(|_| S::var(None)).collect() }
    }

    /// With these entries, whose keys ascend.
    pub(crate) fn filled(entries: impl IntoIterator<Item = (u64, V)>) -> Self {
        let list = SkipList::new();
        // The last node of each level so far. Its link is set when its successor is made.
        let mut last: Vec<Option<Arc<Node<S, V>>>> = vec![None; LEVELS];
        for (key, value) in entries {
            let next = (0..height(key)).map(|_| S::var(None)).collect();
            let node = Arc::new(Node { key, value: S::var(value), next });
            S::atomically(|tx| {
                (0..node.next.len()).try_for_each(|level| {
                    let tower = last[level].as_ref().map_or(&list.head, |node| &node.next);
                    S::write(tx, &tower[level], Some(Arc::clone(&node)))
                })
            });
            last[..node.next.len()].fill(Some(node));
        }
        list
    }

    /// The node with this key.
    ///
    /// # Errors
    /// Passes on that the attempt has ended, as all others do here.
    pub(crate) fn find<'a, A: Access<S>>(
        &self,
        at: &'a A,
        key: u64,
    ) -> Result<Option<Found<'a, S, V>>, S::Stop> {
        let mut place = Place(None);
        for level in (0..LEVELS).rev() {
            loop {
                let next = at.read(&place.tower(self)[level])?;
                match next.as_ref() {
                    Some(node) if node.key < key => place = Place(Some(next)),
                    Some(node) if node.key == key => return Ok(Some(Found(next))),
                    _ => break,
                }
            }
        }
        Ok(None)
    }

    /// Inserts an entry; false, and nothing changed, if there is one with this key.
    pub(crate) fn insert(&self, tx: &S::Tx<'_>, key: u64, value: V) -> Result<bool, S::Stop> {
        let height = height(key);
        // What will be before and behind the new node, from its highest level down.
        let mut neighbours = Vec::with_capacity(height);
        let mut place = Place(None);
        for level in (0..LEVELS).rev() {
            loop {
                let next = tx.read(&place.tower(self)[level])?;
                match next.as_ref() {
                    Some(node) if node.key < key => place = Place(Some(next)),
                    Some(node) if node.key == key => return Ok(false),
                    _ if level < height => {
                        neighbours.push((place.node().cloned(), next.clone()));
                        break;
                    }
                    _ => break,
                }
            }
        }
        neighbours.reverse();
        let next = neighbours.iter().map(|(_, after)| S::var(after.clone())).collect();
        let node = Arc::new(Node { key, value: S::var(value), next });
        for (level, (before, _)) in neighbours.iter().enumerate() {
            let tower = before.as_ref().map_or(&self.head, |node| &node.next);
            S::write(tx, &tower[level], Some(Arc::clone(&node)))?;
        }
        Ok(true)
    }

    /// Removes the entry with this key; false if there is none.
    pub(crate) fn remove(&self, tx: &S::Tx<'_>, key: u64) -> Result<bool, S::Stop> {
        let mut place = Place(None);
        let mut found = false;
        for level in (0..LEVELS).rev() {
            loop {
                let next = tx.read(&place.tower(self)[level])?;
                match next.as_ref() {
                    Some(node) if node.key < key => place = Place(Some(next)),
                    Some(node) if node.key == key => {
                        let after = tx.read(&node.next[level])?.clone();
                        S::write(tx, &place.tower(self)[level], after)?;
                        found = true;
                        break;
                    }
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// Visits the entries from some key on, in order, while `visit` says to go on.
    pub(crate) fn walk<A: Access<S>>(
        &self,
        at: &A,
        from: Bound<u64>,
        mut visit: impl FnMut(&Node<S, V>) -> Result<bool, S::Stop>,
    ) -> Result<(), S::Stop> {
        let before = |key: u64| match from {
            Bound::Included(first) => key < first,
            Bound::Excluded(last) => key <= last,
            Bound::Unbounded => false,
        };
        let mut place = Place(None);
        for level in (0..LEVELS).rev() {
            loop {
                let next = at.read(&place.tower(self)[level])?;
                match next.as_ref() {
                    Some(node) if before(node.key) => place = Place(Some(next)),
                    _ => break,
                }
            }
        }
        loop {
            let next = at.read(&place.tower(self)[0])?;
            match next.as_ref() {
                Some(node) if visit(node)? => place = Place(Some(next)),
                _ => return Ok(()),
            }
        }
    }
}

/// A node that was found.
pub(crate) struct Found<'a, S: Stm, V: Value>(LinkRef<'a, S, V>);

impl<S: Stm, V: Value> Found<'_, S, V> {
    /// Its value.
    pub(crate) fn value(&self) -> &S::Var<V> {
        &self.0.as_ref().expect("a found link leads to a node").value
    }
}

impl<S: Stm, V: Value> Drop for SkipList<S, V> {
    /// Unties the nodes one by one: each holds the next, and to drop them in one go would recurse
    /// once per entry.
    fn drop(&mut self) {
        let first = S::atomically(|tx| {
            let first = tx.read(&self.head[0])?.clone();
            self.head.iter().try_for_each(|link| S::write(tx, link, None))?;
            Ok(first)
        });
        let mut next = first;
        while let Some(node) = next {
            next = S::atomically(|tx| {
                let after = tx.read(&node.next[0])?.clone();
                node.next.iter().try_for_each(|link| S::write(tx, link, None))?;
                Ok(after)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::contempo::Contempo;
    use crate::contenders::peers::{AsyncStm, RustStm};
    use std::collections::BTreeMap;

    fn entries<S: Stm>(list: &SkipList<S, u64>, from: Bound<u64>) -> Vec<(u64, u64)> {
        S::look(|view| {
            let mut found = Vec::new();
            list.walk(view, from, |node| {
                found.push((node.key, *view.read(&node.value)?));
                Ok(true)
            })?;
            Ok(found)
        })
    }

    fn behaves_like_a_sorted_map<S: Stm>() {
        let list = SkipList::<S, u64>::filled((0..100).map(|n| (2 * n, n)));
        let mut model: BTreeMap<u64, u64> = (0..100).map(|n| (2 * n, n)).collect();
        for step in 0..1000_u64 {
            let key = step.wrapping_mul(0x9E37_79B9) % 210;
            if step % 2 == 0 {
                let inserted = S::atomically(|tx| list.insert(tx, key, step));
                assert_eq!(inserted, !model.contains_key(&key));
                model.entry(key).or_insert(step);
            } else {
                let removed = S::atomically(|tx| list.remove(tx, key));
                assert_eq!(removed, model.remove(&key).is_some());
            }
        }
        assert!(entries(&list, Bound::Unbounded).into_iter().eq(model.clone()));
        assert!(entries(&list, Bound::Excluded(100)).into_iter().eq(model.split_off(&101)));
    }

    #[test]
    fn it_behaves_like_a_sorted_map_in_every_memory() {
        behaves_like_a_sorted_map::<Contempo>();
        behaves_like_a_sorted_map::<RustStm>();
        behaves_like_a_sorted_map::<AsyncStm>();
    }

    #[test]
    fn a_long_one_is_dropped_without_recursion() {
        drop(SkipList::<Contempo, u64>::filled((0..50_000).map(|n| (n, n))));
        contempo::collect();
    }
}
