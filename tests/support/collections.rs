//! What the tests of collections of regions share.

use contempo::shared::Shared;
use proptest::prelude::ProptestConfig;

/// As many cases as `PROPTEST_CASES` says, or few.
pub(crate) fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(24) }
}

/// Everything is where it should be, and nothing is lost.
pub(crate) fn sound(shared: &Shared) {
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.unreachable == 0 && report.retired == 0, "{report}");
    assert_eq!(report.cells, report.versions, "{report}");
}
