//! Random programs against a sequential interpreter: the same observations, the same results, the same
//! hooks, the same final state, and every value dropped. A binary of its own: it is run alone with
//! more cases (`PROPTEST_CASES`), and on a mutant.

use contempo_verify::interpreter::Mistake;
use contempo_verify::plan::Plan;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRunner};

/// Bytes that stand for the program of one thread. (Zero bytes and fewer bytes are smaller programs, so
/// they shrink well.)
fn plans() -> impl Strategy<Value = Plan> {
    prop::collection::vec(any::<u8>(), 0..600).prop_map(|bytes| Plan::decode(&bytes, 1))
}

fn compare(mistake: Mistake, plan: &Plan) -> Result<(), TestCaseError> {
    plan.verify_against(mistake).map(|_| ()).map_err(TestCaseError::fail)
}

fn runner(cases: u32, max_shrink_iters: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        max_shrink_iters,
        // Failures are printed, not written into the source tree.
        failure_persistence: None,
        // The default generator takes most of the time without optimisation.
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::default()
    })
}

#[test]
fn random_programs_do_what_the_sequential_interpreter_does() {
    // As many cases as `PROPTEST_CASES` says, or few.
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { Config::default().cases } else { 600 };
    let result = runner(cases, 10_000).run(&plans(), |plan| compare(Mistake::None, &plan));
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn the_comparison_can_fail() {
    for mistake in [
        Mistake::NestedErrorKeepsWrites,
        Mistake::RetryKeepsHooks,
        Mistake::PanicCommits,
        Mistake::SwapReturnsTheNew,
    ] {
        let result = runner(5000, 0).run(&plans(), |plan| compare(mistake, &plan));
        assert!(matches!(result, Err(TestError::Fail(..))), "{mistake:?} was missed");
    }
}
