//! A large value passes through few frames on its way into a cell: how much stack that takes, measured by
//! children that die of a stack that is too small.

use crate::support::alone;
use contempo::{TVar, atomically};
use std::hint::black_box;
use std::process::Command;

const SIZE: usize = 1 << 20;
type Large = [u8; SIZE];

/// What may be on the stack at a time, in copies of the value: the caller's, ours, and one more, since compilers
/// differ. (Measured: 2 without optimisation, 1 with it. While a value passed through closures it was up to 29.)
const COPIES: usize = 3;
/// For everything else.
const FRAMES: usize = 256 << 10;

const OPERATION: &str = "CONTEMPO_TEST_LARGE_VALUE";

/// Does something with a large value, on a thread with a small stack.
type Operation = fn(&TVar<Large>);

const OPERATIONS: [(&str, usize, Operation); 8] = [
    ("new", COPIES, |_| drop(black_box(TVar::new([1_u8; SIZE])))),
    ("store", COPIES, |cell| cell.store([1; SIZE])),
    ("update", COPIES, |cell| cell.update(|_| [1; SIZE])),
    ("write", COPIES, |cell| atomically(|tx| tx.write(cell, [1; SIZE]))),
    ("modify", COPIES, |cell| atomically(|tx| tx.modify(cell, |_| [1; SIZE]))),
    ("replace", COPIES, |cell| atomically(|tx| tx.replace(cell, [1; SIZE]).map(|_| ()))),
    // One that comes back, too.
    ("swap", 2 * COPIES, |cell| assert_eq!(black_box(cell.swap([1; SIZE]))[7], 0)),
    // And through one more function (without optimisation, 7 copies).
    ("compare_and_store", 3 * COPIES, |cell| {
        static EXPECTED: Large = [2; SIZE];
        assert!(black_box(cell.compare_and_store(&EXPECTED, [1; SIZE])).is_err());
    }),
];

/// A cell that holds a large value.
fn cell() -> TVar<Large> {
    let make = || TVar::new([0; SIZE]);
    std::thread::Builder::new().stack_size(64 << 20).spawn(make).unwrap().join().unwrap()
}

#[test]
fn large_values_take_little_stack() {
    let _turn = alone();
    if let Ok(which) = std::env::var(OPERATION) {
        let (_, copies, operation) = OPERATIONS[which.parse::<usize>().unwrap()];
        let cell = cell();
        let stack = std::env::var("CONTEMPO_TEST_STACK").ok().and_then(|stack| stack.parse().ok());
        let stack = stack.unwrap_or(copies * SIZE + FRAMES);
        let small = std::thread::Builder::new().stack_size(stack);
        small.spawn(move || operation(&cell)).unwrap().join().unwrap();
        return;
    }
    let died: Vec<_> = (0..OPERATIONS.len())
        .filter(|which| {
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "large_values::large_values_take_little_stack",
                    "--test-threads",
                    "1",
                ])
                .env(OPERATION, which.to_string())
                .output()
                .unwrap();
            !output.status.success()
        })
        .map(|which| OPERATIONS[which].0)
        .collect();
    assert!(died.is_empty(), "these need more stack: {died:?}");
}
