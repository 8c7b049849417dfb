//! What a commit does when it is bumped, or aborted, at its last step: one that has stopped there plays the
//! transaction, and goes on.

use super::*;
use crate::domain::Native;
use crate::local::frozen::{OLD, Stopped, Thread, cell};

#[test]
fn a_commit_that_is_bumped_decides_again_and_is_firm_in_the_end() {
    for bumps in 1..=BUMPS_BEFORE_FIRM + 1 {
        let domain = Native::new();
        let (thread, cell) = (Thread::new(&domain), cell(&domain));
        let commit = thread.commit(0);
        let bumped = thread.stop(Stopped::Bumped, &cell);
        let after = if bumps < BUMPS_BEFORE_FIRM { Stopped::Deciding } else { Stopped::Firm };
        let next = after.state(commit.me.serial);
        assert_eq!(commit.after_bump(bumped, bumps), Some(next), "{bumps}");
        assert_eq!(thread.descriptor().state.load(Ordering::Relaxed), next);
        assert_eq!(thread.descriptor().counters.bumps.get(), 1);
        // By now somebody has aborted it.
        thread
            .descriptor()
            .state
            .store(Stopped::Aborted.state(commit.me.serial), Ordering::Relaxed);
        assert_eq!(commit.after_bump(bumped, bumps), None);
    }
}

#[test]
fn a_commit_that_is_aborted_gives_everything_back() {
    let domain = Native::new();
    let (thread, cell) = (Thread::new(&domain), cell(&domain));
    let (commit, old) = (thread.commit(0), cell.value.load(Ordering::Relaxed));
    let aborted = thread.stop(Stopped::Aborted, &cell);
    assert_eq!(commit.after_bump(aborted, 1), None);
    assert_eq!(thread.descriptor().counters.bumps.get(), 0, "that was no bump");
    let claim = cell.value.load(Ordering::Relaxed);
    let kind = crate::protocol::version::Version::<u64, Native>::KIND;
    let writes = [WriteEntry { cell: &cell, version: claim, base: old, kind }];
    // SAFETY: versions live for ever here.
    let conflict = unsafe { commit.give_back(&writes, Conflict::PREEMPTED) };
    assert_eq!((conflict.cause, cell.value.load(Ordering::Relaxed)), (Cause::Preempted, old));
    assert_eq!(
        (thread.read(&cell), thread.descriptor().state.load(Ordering::Relaxed)),
        (OLD, aborted)
    );
}
