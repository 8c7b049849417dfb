//! One thread against the sequential interpreter.
#![no_main]

use contempo_verify::plan::Plan;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(counterexample) = Plan::decode(bytes, 1).verify() {
        panic!("{counterexample}");
    }
});
