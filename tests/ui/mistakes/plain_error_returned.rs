use contempo::{TVar, try_atomically};

fn main() {
    let stock = TVar::new(1);
    let sold = try_atomically(|tx| {
        if *tx.read(&stock)? < 5 {
            return Err("sold out");
        }
        Ok(())
    });
    assert_eq!(sold, Err("sold out"));
}
