//! What only one process has (`TVar`, destructors, memory, scheduling, how few are woken), and what it counts. What
//! regions promise as well is in `tests/conformance`.
//!
//! **Every test takes its turn** (`let _turn = alone();`): what the process counts and holds, and its settings, are
//! those of all its threads, and a test beside would disturb them. [`every_test_takes_its_turn`] looks.

mod allocator;
mod alternatives;
mod blocking;
mod bombs;
mod bounds;
mod cancel;
mod cells;
mod changes;
mod collect;
mod declared;
mod drops;
mod explicit;
mod futures;
mod garbage;
mod gone;
mod lagging;
mod large_values;
mod lending;
mod misuse;
mod panics;
mod scheduling;
mod single_cell;
mod snapshots;
mod starvation;
mod statistics;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod transactions;
mod waking;

/// What is called a test in this folder begins with its turn.
#[test]
fn every_test_takes_its_turn() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/local");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for test in text.split("\n#[test]\n").skip(1).filter(|_| !path.ends_with("main.rs")) {
            let name = test.lines().find(|line| line.starts_with("fn ")).unwrap_or(test);
            let body = &test[..test.find("\n}\n").unwrap_or(test.len())];
            assert!(body.contains("let _turn = alone();"), "{}: {name}", path.display());
        }
    }
}
