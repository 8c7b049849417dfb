//! Dynamic objects as roots. They know nothing of names themselves.

use super::RootKind;
use crate::shared::dynamic::{Dictionary, List};
use crate::shared::{RootError, Shared, Transaction};

impl Dictionary {
    /// The dictionary of this name; if there is none, a new one.
    ///
    /// # Errors
    /// [`RootError`] if there is a root of that name and another type, or it cannot be made.
    ///
    /// ```
    /// use contempo::shared::dynamic::Dictionary;
    /// use contempo::shared::{Options, RootKind, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-dictionary-root-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let settings = Dictionary::root(&shared, "settings")?;
    /// assert_eq!(Dictionary::root(&shared, "settings")?, settings); // the one that is there
    /// assert_eq!(shared.roots()?[0].kind, RootKind::Dictionary);
    /// assert!(shared.remove_root("settings")?);
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.cell());
        let kind = RootKind::Dictionary;
        shared.root_of_collection::<Self>(name, kind, [0, 0], make).map(Self::from_cell)
    }
}

impl List {
    /// The list of this name; if there is none, a new one.
    ///
    /// # Errors
    /// As [`Dictionary::root`].
    ///
    /// ```
    /// use contempo::shared::dynamic::List;
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-list-root-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let lines = List::root(&shared, "lines")?;
    /// shared.atomically(|tx| lines.push(tx, b"first", &[]))?;
    /// assert_eq!(List::root(&shared, "lines")?, lines);
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root(shared: &Shared, name: &str) -> Result<Self, RootError> {
        let make = |tx: &Transaction<'_>| Ok(Self::create(tx)?.cell());
        shared.root_of_collection::<Self>(name, RootKind::List, [0, 0], make).map(Self::from_cell)
    }
}
