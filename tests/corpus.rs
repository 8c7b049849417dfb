//! The fuzzer's corpus (`fuzz/corpus`), replayed without the fuzzer: the same code, on stable Rust.
//! A binary of its own: `ci/fuzz.sh` runs it where there is no fuzzer, `ci/sanitizers.sh` under AddressSanitizer.

use contempo_verify::plan::Plan;
use std::path::Path;

fn replay(target: &str, threads: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
        let path = entry.expect("a readable folder").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        let plan = Plan::decode(&bytes, threads);
        if let Err(counterexample) = plan.verify() {
            panic!("{}\n{plan:#?}\n{counterexample}", path.display());
        }
        files += 1;
    }
    println!("{target}: {files} files");
    assert!(files > 20, "the corpus is gone");
}

#[test]
fn the_corpus_holds_by_one_thread() {
    replay("sequential", 1);
}

#[test]
fn the_corpus_holds_by_three_threads() {
    replay("parallel", 3);
}
