#![deny(unused_must_use)]

use contempo::{TVar, atomically};

fn main() {
    let cell = TVar::new(1);
    atomically(|tx| {
        tx.write(&cell, 2);
        tx.check(true);
        Ok(())
    });
}
