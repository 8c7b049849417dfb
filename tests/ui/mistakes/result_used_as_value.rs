use contempo::{TVar, atomically};

fn main() {
    let cell = TVar::new(1);
    let sum = atomically(|tx| Ok(tx.read(&cell) + 1));
    assert_eq!(sum, 2);
}
