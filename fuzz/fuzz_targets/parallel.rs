//! Three threads on the same cells, against the checker of histories and the interpreter.
#![no_main]

use contempo_verify::plan::Plan;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(counterexample) = Plan::decode(bytes, 3).verify() {
        panic!("{counterexample}");
    }
});
