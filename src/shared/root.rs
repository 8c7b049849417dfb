//! Typed roots by name: where a program finds its cells again.
//!
//! The directory is the value of one cell, so that making a root is a transaction like any other. An entry
//! is the hash of the type, the handle, the length of the name, and the name, padded to 8 bytes.

use crate::shared::cell::{Cell, Value};
use crate::shared::error::{Interrupt, RootError, TransactionError};
use crate::shared::region::Shared;
use crate::shared::transaction::Transaction;
use contempo_core::region::hash;

const FIXED: usize = 24;

struct Entries<'d>(&'d [u8]);

impl<'d> Iterator for Entries<'d> {
    type Item = (&'d [u8], u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_ne_bytes(self.0.get(at..at + 8)?.try_into().ok()?))
        };
        let (of_type, handle, length) = (word(0)?, word(8)?, usize::try_from(word(16)?).ok()?);
        let name = self.0.get(FIXED..FIXED.checked_add(length)?)?;
        let end = FIXED.checked_add(length.checked_next_multiple_of(8)?)?;
        self.0 = self.0.get(end..)?;
        Some((name, of_type, handle))
    }
}

fn entry(name: &str, of_type: u64, handle: u64) -> Vec<u8> {
    let mut entry = Vec::new();
    for word in [of_type, handle, name.len() as u64] {
        entry.extend(word.to_ne_bytes());
    }
    entry.extend(name.as_bytes());
    entry.resize(FIXED + name.len().next_multiple_of(8), 0);
    entry
}

fn hash_of<T: ?Sized>(size: u64) -> u64 {
    hash(size, std::any::type_name::<T>().as_bytes())
}

fn hash_of_value<T: Value + ?Sized>() -> u64 {
    hash_of::<T>(T::SIZE.map_or(u64::MAX, |size| size as u64))
}

impl Shared {
    /// The cell of this name; if there is none yet, a new one with `initial`.
    ///
    /// A root's type is recognised by its name (with its path) and its size.
    ///
    /// # Errors
    /// [`RootError`] if the root has another type, or cannot be made.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-root-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let count = shared.root("count", 1_u64)?;
    /// assert_eq!(shared.root("count", 2_u64)?, count); // the one that is there
    /// assert!(shared.root("count", [0_u8; 3]).is_err()); // another type
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root<T: Value>(&self, name: &str, initial: T) -> Result<Cell<T>, RootError> {
        self.root_of(name, &initial)
    }

    /// As [`root`](Self::root), also for values of variable length.
    ///
    /// # Errors
    /// As [`root`](Self::root).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-rootof-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let name = shared.root_of("name", "Ada")?;
    /// assert_eq!(shared.snapshot(|view| Ok(view.read(name)?.len()))?, 3);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root_of<T: Value + ?Sized>(
        &self,
        name: &str,
        initial: &T,
    ) -> Result<Cell<T>, RootError> {
        let make = |tx: &Transaction<'_>| Ok(tx.create(initial)?.handle);
        Ok(Cell::new(self.root_made(name, hash_of_value::<T>(), make)?, self.directory().region))
    }

    /// The cell that a collection of type `C` of this name begins with; made by `make`, if there is none.
    /// `sizes` are those of what the collection holds.
    pub(crate) fn root_of_collection<C>(
        &self,
        name: &str,
        sizes: [usize; 2],
        mut make: impl FnMut(&Transaction<'_>) -> Result<Cell<[u8]>, Interrupt>,
    ) -> Result<Cell<[u8]>, RootError> {
        let of_type = hash_of::<C>((sizes[0] as u64) << 32 | sizes[1] as u64);
        let handle = self.root_made(name, of_type, |tx| Ok(make(tx)?.handle))?;
        Ok(Cell::new(handle, self.directory().region))
    }

    fn root_made(
        &self,
        name: &str,
        of_type: u64,
        mut make: impl FnMut(&Transaction<'_>) -> Result<u64, Interrupt>,
    ) -> Result<u64, RootError> {
        if let Some(handle) = self.found_root(name, of_type)? {
            return Ok(handle);
        }
        let directory = self.directory();
        let made = self.atomically(|tx| {
            let entries = tx.read(directory)?;
            // Another may have been faster.
            if let Some((_, its_type, handle)) = find(entries, name) {
                return Ok((its_type == of_type).then_some(handle));
            }
            let handle = make(tx)?;
            let mut more = entries.to_vec();
            more.extend(entry(name, of_type, handle));
            tx.write(directory, &more[..])?;
            Ok(Some(handle))
        });
        match made {
            Ok(Some(handle)) => Ok(handle),
            Ok(None) => Err(RootError::OtherType),
            Err(TransactionError::NoBlock(crate::shared::NoBlock::TooLarge { .. })) => {
                Err(RootError::TooLong)
            }
            Err(why) => Err(why.into()),
        }
    }

    fn found_root(&self, name: &str, of_type: u64) -> Result<Option<u64>, RootError> {
        let directory = self.directory();
        let found =
            self.snapshot(|view| Ok(find(view.read(directory)?, name).map(|(_, t, h)| (t, h))))?;
        match found {
            None => Ok(None),
            Some((its_type, handle)) if its_type == of_type => Ok(Some(handle)),
            Some(_) => Err(RootError::OtherType),
        }
    }

    /// The cell of this name, if there is one.
    ///
    /// # Errors
    /// [`RootError`] if it has another type.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-findroot-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// assert!(shared.find_root::<u64>("count")?.is_none());
    /// let count = shared.root("count", 1_u64)?;
    /// assert_eq!(shared.find_root::<u64>("count")?, Some(count));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_root<T: Value + ?Sized>(&self, name: &str) -> Result<Option<Cell<T>>, RootError> {
        let found = self.found_root(name, hash_of_value::<T>())?;
        Ok(found.map(|handle| Cell::new(handle, self.directory().region)))
    }

    /// The names of all roots.
    ///
    /// # Errors
    /// [`TransactionError`] if the directory cannot be read.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-roots-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// shared.root("count", 1_u64)?;
    /// assert_eq!(shared.roots()?, ["count"]);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn roots(&self) -> Result<Vec<String>, TransactionError> {
        self.snapshot(|view| {
            let entries = Entries(view.read(self.directory())?);
            Ok(entries.map(|(name, ..)| String::from_utf8_lossy(name).into_owned()).collect())
        })
    }
}

fn find<'d>(directory: &'d [u8], name: &str) -> Option<(&'d [u8], u64, u64)> {
    Entries(directory).find(|(other, ..)| *other == name.as_bytes())
}
