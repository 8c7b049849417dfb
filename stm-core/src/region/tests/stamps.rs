//! Stamps above the clock, which no commit has drawn: told, and never waited for.

use super::*;
use crate::region::verify::{self, Wrong};
use contempo_sched::clock::Clock;

const AHEAD: u64 = 1_000_000;

/// What is done with two cells, the second of which is damaged.
type Operation = fn(&Session, Handle, Handle) -> Result<(), Stopped>;

/// Does `f` with two cells whose second one has this version tag; says whether the region is known as damaged.
fn with_damage(
    damage: impl FnOnce(&RegionDomain, Handle),
    f: Operation,
) -> (Result<(), String>, bool) {
    let world = World::new();
    let (domain, one, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
    increment(&domain, other).unwrap();
    damage(&domain, other);
    elsewhere(move || {
        let outcome = run(&domain, |session| f(session, one, other));
        (outcome.map_err(|why| format!("{why:?}")), domain.is_corrupt())
    })
}

fn head(domain: &RegionDomain, cell: Handle) -> &crate::region::domain::RegionVersion {
    let head = domain.find_cell(cell).unwrap().header.value.handle(Ordering::Acquire);
    domain.find_version(head).unwrap()
}

fn stamp_of_the_version(domain: &RegionDomain, cell: Handle) {
    let stamp = VersionTag::committed(domain.clock().now() + AHEAD);
    head(domain, cell).header.version_tag.store(stamp, Ordering::SeqCst);
}

/// A claim of a transaction that has committed, at a stamp that no commit has drawn.
fn stamp_of_the_owner(domain: &RegionDomain, cell: Handle) {
    let owner = Owner { slot: 3, serial: 5 };
    head(domain, cell).header.version_tag.store(VersionTag::claim(owner), Ordering::SeqCst);
    let descriptor = domain.table().descriptor(owner.slot);
    descriptor.state.store(StateWord::new(owner.serial, Phase::Committed), Ordering::SeqCst);
    descriptor.stamp.store(1 << 63 | 5, Ordering::SeqCst);
}

const OPERATIONS: [(&str, Operation); 4] = [
    ("write and read", |session, one, other| {
        session.atomically(|session| {
            session.write(one, &1_u64.to_ne_bytes())?;
            value(session, other).map(drop)
        })
    }),
    ("read", |session, _, other| session.atomically(|it| value(it, other).map(drop))),
    ("write", |session, _, other| {
        session.atomically(|session| session.write(other, &1_u64.to_ne_bytes()))
    }),
    ("snapshot", |session, _, other| session.snapshot(|it| it.look(other).map(drop))),
];

#[test]
fn a_stamp_above_the_clock_is_damage_and_keeps_no_thread_busy() {
    for damage in [stamp_of_the_version, stamp_of_the_owner] {
        for (name, operation) in OPERATIONS {
            let (outcome, is_corrupt) = with_damage(damage, operation);
            assert!(is_corrupt, "{name}: {outcome:?}");
            assert!(name == "snapshot" || outcome == Err("Corrupt".into()), "{name}: {outcome:?}");
        }
    }
}

#[test]
fn the_check_names_stamps_above_the_clock() {
    let world = World::new();
    let (domain, cell) = (&world.domain, world.cell());
    increment(domain, cell).unwrap();
    let last = head(domain, cell);
    let before = last.header.version_tag.load(Ordering::SeqCst);
    let at = |word: usize| word - domain.map.base().addr();
    let found = || -> Vec<(usize, Wrong)> {
        let report = verify::verify(domain);
        report.problems.iter().map(|problem| (problem.offset, problem.what)).collect()
    };
    assert_eq!(found(), []);
    // SAFETY: the word of the clock, as others could write it.
    let clock = unsafe { &*std::ptr::from_ref(domain.clock()).cast::<AtomicU64>() };
    let now = clock.load(Ordering::SeqCst);
    last.header.version_tag.store(VersionTag::committed(now), Ordering::SeqCst);
    assert_eq!(found(), [], "that of the last commit");
    last.header.version_tag.store(VersionTag::committed(now + 1), Ordering::SeqCst);
    let version = at(std::ptr::from_ref(last).addr());
    assert_eq!(found(), [(version, Wrong::StampAboveClock)]);
    last.header.version_tag.store(before, Ordering::SeqCst);
    let stamp = &domain.table().descriptor(2).stamp;
    stamp.store(now + 1, Ordering::SeqCst);
    assert_eq!(found(), [(at(std::ptr::from_ref(stamp).addr()), Wrong::StampAboveClock)]);
    stamp.store(0, Ordering::SeqCst);
    clock.store(1 << 63, Ordering::SeqCst);
    assert_eq!(found(), [(at(std::ptr::from_ref(clock).addr()), Wrong::BadClock)]);
}
