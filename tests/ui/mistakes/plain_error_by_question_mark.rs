use contempo::{TVar, try_atomically};

fn main() {
    let stock = TVar::new(1_u32);
    let sold = try_atomically(|tx| {
        let left = tx.read(&stock)?.checked_sub(5).ok_or("sold out")?;
        tx.write(&stock, left)?;
        Ok(left)
    });
    assert_eq!(sold, Err("sold out"));
}
