//! Collections as roots. They know nothing of names themselves.

use super::RootKind;
use crate::shared::collections::{
    BoundedQueue, Counter, Deque, Map, Multimap, OrderedMap, OrderedSet, PriorityQueue, Queue, Set,
    Vector,
};
use crate::shared::{Interrupt, RootError, Shared, Transaction};
use bytemuck::Pod;
use std::num::NonZeroUsize;

impl<K: Pod + Eq, V: Pod> Map<K, V> {
    /// The map of this name; if there is none, a new one with this number of buckets, rounded up to a power of
    /// two, of which each has room for some 26 entries (less, if they are larger than 16 bytes). They become more
    /// and fewer by themselves; to begin with as many as there will be saves the time for that.
    ///
    /// # Errors
    /// [`RootError::NoBuckets`] for no buckets; [`NoBlock`](crate::shared::NoBlock) for more than the whole region has
    /// room for, before anything is made; [`RootError`] if there is a root of that name and another type, or it cannot
    /// be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, RootError, collections::Map};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-map-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: Map<u64, u64> = Map::root(&shared, "map", 16)?;
    /// assert_eq!(Map::<u64, u64>::root(&shared, "map", 99)?, map); // the one that is there
    /// assert!(matches!(Map::<u64, u64>::root(&shared, "none", 0), Err(RootError::NoBuckets)));
    /// let too_many = Map::<u64, u64>::root(&shared, "none", usize::MAX).unwrap_err();
    /// assert_eq!(too_many.to_string(), "this takes 18446744073709551615 bytes or more, and the region may have 4294967296");
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str, buckets: usize) -> Result<Self, RootError> {
        let buckets = NonZeroUsize::new(buckets).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, buckets)?.top());
        let sizes = [size_of::<K>(), size_of::<V>()];
        shared.root_of_collection::<Self>(name, RootKind::Map, sizes, make).map(Self::at)
    }
}

impl<K: Pod + Ord, V: Pod> OrderedMap<K, V> {
    /// The map of this name; if there is none, a new one.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::OrderedMap};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ordered-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
    /// assert_eq!(OrderedMap::<u64, u64>::root(&shared, "map")?, map); // the one that is there
    /// assert!(OrderedMap::<u64, u32>::root(&shared, "map").is_err());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
        let sizes = [size_of::<K>(), size_of::<V>()];
        shared.root_of_collection::<Self>(name, RootKind::OrderedMap, sizes, make).map(Self::at)
    }
}

impl<T: Pod> Vector<T> {
    /// The vector of this name; if there is none, a new one.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Vector};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-vector-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let line: Vector<u64> = Vector::root(&shared, "line")?;
    /// assert_eq!(Vector::<u64>::root(&shared, "line")?, line); // the one that is there
    /// assert!(Vector::<u32>::root(&shared, "line").is_err());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::Vector, sizes, make).map(Self::at)
    }
}

impl<T: Pod> Queue<T> {
    /// The queue of this name, made if there is none.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name that is none, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Queue};
    /// # let path = std::env::temp_dir().join(format!("contempo-queue-{}", std::process::id()));
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let jobs: Queue<u64> = Queue::root(&shared, "jobs")?;
    /// shared.atomically(|tx| jobs.push(tx, 7))?;
    /// assert_eq!(shared.atomically(|tx| jobs.pop(tx))?, 7); // would sleep until there is one
    /// assert_eq!(shared.atomically(|tx| jobs.try_pop(tx))?, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| -> Result<_, Interrupt> { Self::make_ends(tx) };
        let sizes = [size_of::<T>(), 0];
        shared.root_of_cells::<Self>(name, RootKind::Queue, sizes, make).map(Self::at)
    }
}

impl<T: Pod> BoundedQueue<T> {
    /// The queue of this name; if there is none, a new one with room for so many items.
    ///
    /// # Errors
    /// [`RootError::NoBuckets`] for no room; [`RootError`] if there is a root of that name and another type, or it cannot
    /// be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::BoundedQueue};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-bounded-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let jobs: BoundedQueue<u64> = BoundedQueue::root(&shared, "jobs", 8)?;
    /// assert_eq!(BoundedQueue::<u64>::root(&shared, "jobs", 99)?, jobs); // the one that is there
    /// assert!(BoundedQueue::<u64>::root(&shared, "none", 0).is_err());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str, capacity: usize) -> Result<Self, RootError> {
        let capacity = NonZeroUsize::new(capacity).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, capacity)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::BoundedQueue, sizes, make).map(Self::at)
    }
}

impl<T: Pod> Deque<T> {
    /// The deque of this name; if there is none, a new one.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, collections::Deque};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-deque-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let tasks: Deque<u64> = Deque::root(&shared, "tasks")?;
    /// assert_eq!(Deque::<u64>::root(&shared, "tasks")?, tasks); // the one that is there
    /// assert!(Deque::<[u64; 2]>::root(&shared, "tasks").is_err());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::Deque, sizes, make).map(Self::at)
    }
}

impl<T: Pod + Eq> Set<T> {
    /// The set of this name; if there is none, a new one with this number of buckets, as [`Map::root`] makes it. It
    /// lies in the region as a map, and [`roots`](Shared::roots) says so.
    ///
    /// # Errors
    /// As [`Map::root`].
    pub fn root(shared: &Shared, name: &str, buckets: usize) -> Result<Self, RootError> {
        let buckets = NonZeroUsize::new(buckets).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, buckets)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::Map, sizes, make).map(Self::at)
    }
}

impl<T: Pod + Ord> OrderedSet<T> {
    /// The set of this name; if there is none, a new one. It lies in the region as an ordered map, and
    /// [`roots`](Shared::roots) says so.
    ///
    /// # Errors
    /// As [`OrderedMap::root`].
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::OrderedMap, sizes, make).map(Self::at)
    }
}

impl<K: Pod + Eq, V: Pod + Ord> Multimap<K, V> {
    /// The multimap of this name; if there is none, a new one with this number of buckets, as [`Map::root`] makes it.
    ///
    /// # Errors
    /// As [`Map::root`].
    pub fn root(shared: &Shared, name: &str, buckets: usize) -> Result<Self, RootError> {
        let buckets = NonZeroUsize::new(buckets).ok_or(RootError::NoBuckets)?;
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx, buckets)?.top());
        let sizes = [size_of::<K>(), size_of::<V>()];
        shared.root_of_collection::<Self>(name, RootKind::Multimap, sizes, make).map(Self::at)
    }
}

impl<T: Pod + Ord> PriorityQueue<T> {
    /// The queue of this name; if there is none, a new one.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
        let sizes = [size_of::<T>(), 0];
        shared.root_of_collection::<Self>(name, RootKind::PriorityQueue, sizes, make).map(Self::at)
    }
}

impl Counter {
    /// The counter of this name; if there is none, a new one.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name that is none, or it cannot be made.
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.top());
        shared.root_of_collection::<Self>(name, RootKind::Counter, [0; 2], make).map(Self::at)
    }
}
