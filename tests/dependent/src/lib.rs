//! Types of a user's own in a region, in a program whose only dependency is `contempo`: that this builds is
//! half of the test.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use contempo::shared::bytemuck::{Pod, Zeroable};
use contempo::shared::collections::{OrderedMap, Vector};
use contempo::shared::{Cell, RootError, Shared};

/// Plain data, told by the derive.
#[derive(Clone, Copy, Pod, Zeroable, PartialEq, Debug)]
#[bytemuck(crate = "contempo::shared::bytemuck")]
#[repr(C)]
pub struct Account {
    /// In cents.
    pub balance: i64,
    /// The holder.
    pub owner: u32,
    /// How often it was used.
    pub uses: u32,
    /// A handle is plain data, too.
    pub note: Cell<str>,
}

/// A key of a user's own.
#[derive(Clone, Copy, Pod, Zeroable, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[bytemuck(crate = "contempo::shared::bytemuck")]
#[repr(C)]
pub struct Key {
    /// Compared first.
    pub country: [u8; 2],
    /// Compared then.
    pub number: u16,
}

/// A bank in a region.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    /// By key, in order.
    pub accounts: OrderedMap<Key, Account>,
    /// What has happened.
    pub journal: Vector<Key>,
}

impl Bank {
    /// The bank of this region.
    ///
    /// # Errors
    /// [`RootError`] if it cannot be made.
    pub fn of(shared: &Shared) -> Result<Self, RootError> {
        Ok(Bank {
            accounts: OrderedMap::root(shared, "accounts")?,
            journal: Vector::root(shared, "journal")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contempo::shared::{Options, liveness_path};

    #[test]
    fn own_types_are_values_keys_and_items() {
        let path = std::env::temp_dir().join(format!("contempo-dependent-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let shared = Shared::create(&path, &Options::new()).unwrap();
        let bank = Bank::of(&shared).unwrap();
        let key = |country: &[u8; 2], number| Key { country: *country, number };
        let made = shared.atomically(|tx| {
            for key in [key(b"IT", 2), key(b"DE", 9), key(b"DE", 1)] {
                let note = tx.create("new")?;
                let account = Account { balance: -5, owner: key.number.into(), uses: 0, note };
                bank.accounts.insert(tx, key, account)?;
                bank.journal.push(tx, key)?;
            }
            bank.journal.len(tx)
        });
        assert_eq!(made.unwrap(), 3);
        let german = shared.snapshot(|view| {
            let range = bank.accounts.range(view, key(b"DE", 0)..key(b"DF", 0));
            range
                .map(|entry| {
                    let (key, account) = entry?;
                    assert_eq!((account.balance, view.read(account.note)?), (-5, "new"));
                    Ok(key.number)
                })
                .collect::<Result<Vec<_>, _>>()
        });
        assert_eq!(german.unwrap(), [1, 9]);
        let cell = shared.root("account", bank.accounts).unwrap();
        assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), bank.accounts);
        drop(shared);
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(liveness_path(&path)).unwrap();
    }
}
