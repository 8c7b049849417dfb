//! What the compiler says about the common mistakes: each program in `mistakes` is one, and beside it stands what the
//! compiler says.
//!
//! The words around ours are those of one compiler, [`COMPILER`]; with another the test says so and does nothing.
//! To renew: `TRYBUILD=overwrite cargo test -p contempo-ui`.
#![cfg(not(any(contempo_loom, contempo_shuttle, contempo_models, contempo_fault, contempo_tsan)))]

use std::process::Command;

/// Whose words are beside the programs.
const COMPILER: &str = "rustc 1.95.0 ";

#[test]
fn mistakes_are_told_with_what_to_do() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("the compiler can be asked");
    let version = String::from_utf8_lossy(&version.stdout);
    if !version.starts_with(COMPILER) {
        println!("skipped: the words are those of {COMPILER}, and this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("mistakes/*.rs");
}
