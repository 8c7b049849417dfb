//! What each process has of its own in a region: settings, and its part of the statistics.

use crate::support::region::{Place, fresh, play, role, set};
use contempo::shared::Shared;
use contempo::{Policy, Settings};

#[test]
fn each_process_has_settings_and_counts_of_its_own() {
    const THEIRS: u64 = 40;
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        assert_eq!(shared.settings(), Settings::default(), "those of the other process");
        let nothing = shared.process_statistics();
        assert_eq!(nothing.commits + nothing.read_only, 0, "{nothing:?}");
        let cell = shared.root("cell", 0_u64).unwrap();
        // Threads that come and go, perhaps on the same slot.
        for _ in 0..4 {
            std::thread::scope(|scope| {
                scope.spawn(|| (0..THEIRS / 4).for_each(|n| set(&shared, cell, n)));
            });
        }
        assert_eq!(shared.process_statistics().commits, THEIRS);
        return;
    }
    let (place, shared) = fresh();
    let mut settings = shared.settings();
    settings.policy = Policy::Timid;
    shared.configure(settings).unwrap();
    assert_eq!(Shared::open(&place).unwrap().settings(), settings, "the same process");
    let cell = shared.root("cell", 0_u64).unwrap();
    let (all, ours) = (shared.statistics(), shared.process_statistics());
    set(&shared, cell, 1);
    let mut child =
        play("each_process_has_settings_and_counts_of_its_own", "other", Place::path(&place));
    assert!(child.wait().unwrap().success());
    set(&shared, cell, 2);
    assert_eq!(shared.statistics().since(&all).commits, THEIRS + 2, "also of one that has ended");
    assert_eq!(shared.process_statistics().since(&ours).commits, 2);
    assert_eq!(shared.inspect().statistics, shared.statistics());
}
