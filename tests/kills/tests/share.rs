//! A time-boxed share of the kills. More of each kind: `ci/kills.sh`, which the gate runs.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::process::Command;

fn kills(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_kills")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}:\n{said}\n{complained}");
    assert!(said.contains(": 0 inconsistent, 0 stuck, 0 leaked"), "{said}");
    println!("{arguments:?}\n{said}");
}

#[test]
fn kills_at_instructions_leave_nothing() {
    kills(&["sweep", "--seconds", "20", "--stride", "37"]);
}

// Single steps of a build that is not optimised take too long here.
#[cfg(not(debug_assertions))]
#[test]
fn kills_of_recoverers_leave_nothing() {
    kills(&["recoverers", "--seconds", "20"]);
}

#[test]
fn random_kills_leave_nothing() {
    kills(&["random", "--kills", "200"]);
}

#[test]
fn kills_in_a_full_region_leave_nothing() {
    kills(&["random", "--kills", "100", "--crowded"]);
}

#[test]
fn kills_of_makers_leave_nothing() {
    kills(&["makers"]);
}
