//! What an entry or an item holds, as it was read.

use super::blob::Blob;
use super::block::Handles;
use crate::shared::{Cell, Interrupt, Reader};
use std::borrow::Cow;

/// Bytes that a slot of a list has room for.
pub(super) const SHORT: usize = 15;

/// Where the bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes<'a> {
    /// In the block that was read.
    Here(&'a [u8]),
    /// In a slot: so many of these.
    Short([u8; SHORT], u8),
    /// In a blob of its own.
    Long(Blob),
}

/// Which cells it names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Names<'a> {
    Many(Handles<'a>),
    One(u64),
}

/// The value of an entry of a [`Dictionary`](super::Dictionary), or an item of a [`List`](super::List): bytes, and
/// references to other objects of the region.
///
/// ```
/// use contempo::shared::dynamic::Dictionary;
/// use contempo::shared::{Options, Shared};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-content-{}", std::process::id()));
/// # let _ = Shared::remove(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let all = Dictionary::root(&shared, "all")?;
/// shared.atomically(|tx| all.insert(tx, b"itself", b"a cycle", &[all.cell()]))?;
/// shared.snapshot(|view| {
///     let found = all.get(view, b"itself")?.expect("it was inserted");
///     assert_eq!(*found.bytes(view)?, *b"a cycle");
///     assert!(found.references().eq([all.cell()]));
///     Ok(())
/// })?;
/// # Shared::remove(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) names: Names<'a>,
    pub(super) region: u64,
}

impl<'a> Content<'a> {
    /// The bytes. Those of long values are read now, and put together: linear in their number; others are not copied, or
    /// are few.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    pub fn bytes(&self, at: &impl Reader<'a>) -> Result<Cow<'a, [u8]>, Interrupt> {
        match self.bytes {
            Bytes::Here(bytes) => Ok(Cow::Borrowed(bytes)),
            Bytes::Short(bytes, length) => Ok(Cow::Owned(bytes[..usize::from(length)].to_vec())),
            Bytes::Long(blob) => blob.read(at),
        }
    }

    /// The cells that it names, in the order in which they were given.
    pub fn references(&self) -> impl Iterator<Item = Cell<[u8]>> + use<'a> {
        let region = self.region;
        let (many, one) = match self.names {
            Names::Many(handles) => (handles, None),
            Names::One(handle) => (Handles::NONE, Some(handle)),
        };
        many.iter().chain(one).map(move |handle| Cell::new(handle, region))
    }
}
