//! What a transaction of a region writes to a cell again and again.

use super::region::fresh;
use contempo::shared::{Abort, Transaction};

/// What was handed out stays as it was, and what a part that has failed has written over comes back; whatever the order
/// of lengths.
pub(crate) fn check() {
    let (_place, shared) = fresh();
    let (text, number) =
        (shared.root_of("text", "").unwrap(), shared.root("number", 0_u64).unwrap());
    let lengths = [3, 900, 20, 901, 40, 5, 0, 1_000, 999];
    let body = |tx: &Transaction<'_>| {
        let mut lent = Vec::new();
        for (n, length) in lengths.into_iter().enumerate() {
            let value = n.to_string().repeat(length);
            tx.write(text, &value[..])?;
            if n % 2 == 0 {
                lent.push((tx.read(text)?, value));
            }
            tx.write(number, &(n as u64))?;
            let failed = tx.nested(|tx| {
                tx.write(number, &77)?;
                tx.write(text, "undone")?;
                tx.write(text, "undone once more")?;
                Err::<(), _>(Abort::error(()))
            })?;
            assert_eq!((failed, tx.read(number)?), (Err(()), n as u64));
        }
        assert!(lent.iter().all(|(seen, written)| seen == written), "{lent:?}");
        assert_eq!(tx.read(text)?.len(), 999);
        Ok(())
    };
    shared.atomically(body).unwrap();
    assert_eq!(shared.snapshot(|view| Ok(view.read(text)?.to_owned())).unwrap(), "8".repeat(999));
    super::region::sound(&shared, 3);
}
