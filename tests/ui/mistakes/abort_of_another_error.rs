use contempo::{Abort, TVar, Transaction, try_atomically};

#[derive(Debug)]
struct Inner;

#[derive(Debug)]
struct Outer;

impl From<Inner> for Outer {
    fn from(_: Inner) -> Self {
        Outer
    }
}

fn part(tx: &Transaction<'_>, cell: &TVar<u32>) -> Result<u32, Abort<Inner>> {
    Ok(*tx.read(cell)?)
}

fn whole(tx: &Transaction<'_>, cell: &TVar<u32>) -> Result<u32, Abort<Outer>> {
    Ok(part(tx, cell)? + 1)
}

fn main() {
    let cell = TVar::new(1);
    let all: Result<u32, Outer> = try_atomically(|tx| whole(tx, &cell));
    all.unwrap();
    let again: Result<u32, Outer> = try_atomically(|tx| Ok(part(tx, &cell)?));
    again.unwrap();
}
