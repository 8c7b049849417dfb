use contempo::{TVar, try_atomically};

#[derive(Debug)]
struct SoldOut;

fn main() {
    let stock = TVar::new(1);
    let done: Result<(), SoldOut> = try_atomically(|tx| tx.write(&stock, 2));
    done.unwrap();
}
