//! Cells that can be serialized: a snapshot goes out, and a new cell comes in.

use crate::local::context;
use crate::local::snapshot::{Snapshot, snapshot};
use crate::local::tvar::TVar;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Error, Serialize, Serializer};

/// Serializes what `look` shows of a snapshot: the one that runs already, if one does. Inside of a transaction that is an
/// error: what would be read there could be newer than what the transaction has seen.
#[doc(hidden)]
pub fn serialize_view<S: Serializer>(
    serializer: S,
    look: impl FnOnce(&Snapshot<'_>, S) -> Result<S::Ok, S::Error>,
) -> Result<S::Ok, S::Error> {
    if context::with(|context| context.is_in_transaction()) {
        return Err(S::Error::custom(
            "contempo: a cell or collection cannot be serialized inside of a transaction: read it, and serialize \
             what was read; or use a snapshot",
        ));
    }
    snapshot(|view| look(view, serializer))
}

/// As its value, in a snapshot: cells inside of the value are as they were at the same moment. Cells beside each other
/// are, too, if all is serialized in one [`snapshot`]. With the feature `serde`.
///
/// Inside of a transaction it is an error of the serializer.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, snapshot};
/// let nested = TVar::new(vec![TVar::new(1), TVar::new(2)]);
/// assert_eq!(serde_json::to_string(&nested)?, "[1,2]");
/// let both = snapshot(|_| serde_json::to_string(&(&nested, &nested)))?; // of one moment
/// assert_eq!(both, "[[1,2],[1,2]]");
/// let copy: TVar<Vec<TVar<i32>>> = serde_json::from_str("[1,2]")?; // new cells
/// assert_eq!(copy.with(|cells| cells.len()), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<T: Serialize + Send + Sync + 'static> Serialize for TVar<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_view(serializer, |view, serializer| view.read(self).serialize(serializer))
    }
}

/// A new cell. With the feature `serde`.
impl<'de, T: Deserialize<'de> + Send + Sync + 'static> Deserialize<'de> for TVar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(TVar::new)
    }
}
