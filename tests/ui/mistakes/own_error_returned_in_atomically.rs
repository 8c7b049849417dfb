use contempo::{TVar, atomically};

#[derive(Debug)]
struct SoldOut;

fn main() {
    let stock = TVar::new(1);
    atomically(|tx| {
        if *tx.read(&stock)? < 5 {
            return Err(SoldOut);
        }
        Ok(())
    });
}
