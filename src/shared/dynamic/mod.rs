//! Collections whose keys and values are byte strings of any length, with references to other objects of the region:
//! for interpreters, and for programs that know only at run time what they keep.
//!
//! | | is | what conflicts |
//! | --- | --- | --- |
//! | [`Dictionary`] | a hash trie that remembers the order in which keys were inserted | work on the same bucket of up to eight entries |
//! | [`List`] | slots of 16 bytes under a tree | work on the same chunk of 64 items |
//! | [`Blob`] | a byte string of any length | as one cell |
//!
//! All are handles of 16 bytes on a *top cell*, which stays the same, so that one object can name another
//! ([`Dictionary::cell`], [`Dictionary::from_cell`]). What an object names is not freed with it: which names which, and
//! when that goes, is the program's to say. What it needs itself, also for long values, is.
//!
//! ```
//! use contempo::shared::dynamic::{Dictionary, List};
//! use contempo::shared::{Options, Shared};
//! # let path = std::env::temp_dir().join(format!("contempo-doc-dynamic-{}", std::process::id()));
//! # let _ = Shared::remove(&path);
//! # let shared = Shared::create(&path, &Options::new())?;
//! let settings = Dictionary::root(&shared, "settings")?;
//! shared.atomically(|tx| {
//!     let hosts = List::create(tx)?;
//!     hosts.push(tx, b"db1.example", &[])?;
//!     settings.insert(tx, b"hosts", b"", &[hosts.cell()])
//! })?;
//! let first = shared.snapshot(|view| {
//!     let Some(entry) = settings.get(view, b"hosts")? else { return Ok(None) };
//!     let Some(hosts) = entry.references().next().map(List::from_cell) else { return Ok(None) };
//!     let Some(host) = hosts.get(view, 0)? else { return Ok(None) };
//!     Ok(Some(host.bytes(view)?.into_owned()))
//! })?;
//! assert_eq!(first.as_deref(), Some(&b"db1.example"[..]));
//! # Shared::remove(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How they lie in a region
//!
//! Whatever names a cell has its handle at a multiple of 8 (`docs/decisions/python.md`): so the consistency check, and
//! whatever else follows references, needs to know no types.

mod blob;
mod block;
mod content;
mod dictionary;
mod list;

pub use blob::Blob;
pub use content::Content;
pub(crate) use dictionary::free_below as free_dictionary_below;
pub use dictionary::{Dictionary, Entries};
pub use list::{Items, List};
