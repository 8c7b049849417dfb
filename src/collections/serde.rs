//! Collections that can be serialized: a snapshot goes out, and a new collection comes in.

use crate::collections::{TMap, TOrderedMap, TQueue, TVector};
use contempo_core::local::serde::serialize_view;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

/// Entries one after the other, in the order of iteration.
fn serialize_entries<'a, S: Serializer, K: Serialize + 'a, V: Serialize + 'a>(
    serializer: S,
    count: usize,
    entries: impl Iterator<Item = (&'a K, &'a V)>,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(count))?;
    for (key, value) in entries {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// The entries of a map. Of equal keys the last one will count, as a collection is extended.
struct Entries<K, V>(Vec<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Visit<K, V> {
            type Value = Entries<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // (Without room for as many as the input says that there are: it may say anything.)
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visit(PhantomData))
    }
}

/// As a map, in a snapshot. With the feature `serde`; inside of a transaction it is an error of the serializer.
///
/// ```
/// use contempo::{TVar, collections::TMap};
/// let map = TMap::from([("a", TVar::new(1))]);
/// assert_eq!(serde_json::to_string(&map)?, r#"{"a":1}"#);
/// let copy: TMap<String, TVar<u32>> = serde_json::from_str(r#"{"a":1}"#)?; // new cells
/// assert_eq!(copy.load("a").map(|cell| cell.load()), Some(1));
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<K, V, B> Serialize for TMap<K, V, B>
where
    K: Serialize + Eq + Send + Sync + 'static,
    V: Serialize + Send + Sync + 'static,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_view(serializer, |view, serializer| {
            serialize_entries(serializer, self.len(view), self.iter(view))
        })
    }
}

/// A new map. With the feature `serde`.
impl<'de, K, V, B> Deserialize<'de> for TMap<K, V, B>
where
    K: Deserialize<'de> + Eq + Hash + Send + Sync + 'static,
    V: Deserialize<'de> + Send + Sync + 'static,
    B: BuildHasher + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Entries::deserialize(deserializer).map(|Entries(entries)| entries.into_iter().collect())
    }
}

/// As a map in the order of its keys, in a snapshot. With the feature `serde`; inside of a transaction it is an error of
/// the serializer.
///
/// ```
/// use contempo::collections::TOrderedMap;
/// let map = TOrderedMap::from([("b", 2), ("a", 1)]);
/// assert_eq!(serde_json::to_string(&map)?, r#"{"a":1,"b":2}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<K, V> Serialize for TOrderedMap<K, V>
where
    K: Serialize + Ord + Send + Sync + 'static,
    V: Serialize + Send + Sync + 'static,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_view(serializer, |view, serializer| {
            serialize_entries(serializer, self.len(view), self.iter(view))
        })
    }
}

/// A new map. With the feature `serde`.
impl<'de, K, V> Deserialize<'de> for TOrderedMap<K, V>
where
    K: Deserialize<'de> + Ord + Send + Sync + 'static,
    V: Deserialize<'de> + Send + Sync + 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Entries::deserialize(deserializer).map(|Entries(entries)| entries.into_iter().collect())
    }
}

/// What is a sequence of its items, in the order of `iter`.
macro_rules! sequences {
    ($($collection:ident, $example:literal;)+) => {$(
        /// As a sequence, in a snapshot. With the feature `serde`; inside of a transaction it is an error of the
        /// serializer.
        ///
        /// ```
        #[doc = concat!("use contempo::collections::", stringify!($collection), ";")]
        #[doc = concat!("let items = ", stringify!($collection), "::from([1, 2, 3]);")]
        /// assert_eq!(serde_json::to_string(&items)?, "[1,2,3]");
        #[doc = concat!("let copy: ", stringify!($collection), "<u32> = serde_json::from_str(\"[1,2,3]\")?;")]
        #[doc = $example]
        /// # Ok::<(), serde_json::Error>(())
        /// ```
        impl<T: Serialize + Send + Sync + 'static> Serialize for $collection<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_view(serializer, |view, serializer| {
                    serializer.collect_seq(self.iter(view))
                })
            }
        }

        /// A new one. With the feature `serde`.
        impl<'de, T> Deserialize<'de> for $collection<T>
        where
            T: Deserialize<'de> + Send + Sync + 'static,
        {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Vec::deserialize(deserializer).map(|items| items.into_iter().collect())
            }
        }
    )+};
}

sequences! {
    TVector, "assert_eq!(contempo::snapshot(|view| copy.get(view, 2).copied()), Some(3));";
    TQueue, "assert_eq!(contempo::atomically(|tx| Ok(*copy.pop(tx)?)), 1);";
}
