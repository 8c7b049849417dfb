use contempo::{Abort, TVar, Transaction, try_atomically};
use std::fmt;

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Outer {}

impl From<std::num::ParseIntError> for Outer {
    fn from(error: std::num::ParseIntError) -> Self {
        Outer(error)
    }
}

fn number(tx: &Transaction<'_>, cell: &TVar<String>) -> Result<u32, Abort<Outer>> {
    Ok(tx.read(cell)?.parse()?)
}

fn main() {
    let cell = TVar::new(String::from("7"));
    let all: Result<u32, Outer> = try_atomically(|tx| number(tx, &cell));
    all.unwrap();
}
