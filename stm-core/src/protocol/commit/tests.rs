//! What a commit does when it is bumped, or aborted, at its last step: one that has stopped there plays the
//! transaction, and goes on.

use super::*;
use crate::local::domain::Native;
use crate::local::frozen::{OLD, OURS, Stopped, Thread, cell, version};
use crate::protocol::version::Version;
use std::ptr::null_mut;

#[test]
fn a_commit_that_is_bumped_decides_again_and_is_firm_in_the_end() {
    for bumps in 1..=BUMPS_BEFORE_FIRM + 1 {
        let domain = Native::new();
        let (thread, cell) = (Thread::new(&domain), cell(&domain));
        let commit = thread.commit(0);
        let bumped = thread.stop(Stopped::Bumped, &cell);
        let after = if bumps < BUMPS_BEFORE_FIRM { Stopped::Deciding } else { Stopped::Firm };
        let next = after.state(commit.by.me.serial);
        assert_eq!(commit.after_bump(bumped, bumps), Some(next), "{bumps}");
        assert_eq!(thread.descriptor().state.load(Ordering::Relaxed), next);
        assert_eq!(thread.descriptor().counters.bumps.get(), 1);
        // By now somebody has aborted it.
        thread
            .descriptor()
            .state
            .store(Stopped::Aborted.state(commit.by.me.serial), Ordering::Relaxed);
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

/// Far more writes than fit into one line of anything.
#[test]
fn a_large_commit_writes_everything_or_nothing() {
    const WRITES: usize = 5_000;
    const GOOD: usize = 4_321;
    let (domain, kind) = (Native::new(), Version::<u64, Native>::KIND);
    let thread = Thread::new(&domain);
    let cells: Vec<_> = (0..WRITES).map(|_| cell(&domain)).collect();
    let shared = cells[0].value.load(Ordering::Relaxed);
    for cell in &cells[..GOOD] {
        cell.value.store(shared, Ordering::Relaxed);
    }
    let before: Vec<_> = cells.iter().map(|cell| cell.value.load(Ordering::Relaxed)).collect();
    let writes = |me| -> Vec<_> {
        let new = || version(VersionTag::claim(me), OURS);
        let entry =
            |cell: &CellHeader<Native>| WriteEntry { cell, version: new(), base: null_mut(), kind };
        cells.iter().map(entry).collect()
    };
    // Only what holds one version may be replaced: the cell after those cannot be claimed.
    let commit = Commit { expected: shared, ..thread.commit(0) };
    let mut failing = writes(commit.by.me);
    // SAFETY: versions and cells live longer than this, and the new versions are private.
    let outcome = unsafe {
        commit.run(
            &[],
            &mut failing,
            &mut |_, _: Block, _: &WriteEntry<_>| panic!("nothing is replaced"),
            |_| (),
        )
    };
    let Err(conflict) = outcome else { panic!("one cell holds another version") };
    assert_eq!((conflict.cause, conflict.cell), (Cause::Changed, &raw const cells[GOOD]));
    let seen = failing.iter().take_while(|write| write.base == shared).count();
    assert_eq!((seen, failing[GOOD].base), (GOOD, null_mut()));
    assert!(cells.iter().map(|cell| cell.value.load(Ordering::Relaxed)).eq(before.iter().copied()));

    let commit = thread.commit(0);
    let mut replaced = Vec::new();
    // SAFETY: versions and cells live longer than this, and the new versions are private.
    let outcome = unsafe {
        let mut replaced = |stamp, block, _: &WriteEntry<_>| replaced.push((stamp, block));
        commit.run(&[], &mut writes(commit.by.me), &mut replaced, |_| ())
    };
    let at = outcome.ok().expect("nothing is in the way");
    assert!(replaced.iter().all(|(stamp, _)| *stamp == at));
    let bases = replaced.iter().map(|(_, block)| block.address.as_ptr().cast());
    assert!(bases.eq(before), "each once, in order");
    assert!(cells.iter().all(|cell| thread.read(cell) == OURS));
}
