use contempo::{TVar, atomically};

fn main() {
    let text = TVar::new(String::from("7"));
    let number: u32 = atomically(|tx| Ok(tx.read(&text)?.parse::<u32>()?));
    assert_eq!(number, 7);
}
