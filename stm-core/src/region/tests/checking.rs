//! What the check says while others are at work, and about what the dead have left.

use super::*;
use crate::region::session::Running;
use crate::region::verify::{self, Report, Wrong};
use contempo_sched::clock::Clock;

/// The check has found the last version of a cell that was freed; then cell and version are freed, and used again by
/// others, before it looks for the cell.
#[test]
fn what_is_freed_under_the_check_is_not_lost() {
    for used_again in [false, true] {
        let world = World::new();
        let (domain, cell, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
        let worker = Worker::new(&domain);
        worker.does(move |session| session.atomically(|session| session.free(cell)).unwrap());
        let last = domain.find_cell(cell).unwrap().header.value.handle(Ordering::Acquire);
        let met = Arc::new(AtomicBool::new(false));
        let (ours, seen) = (Arc::clone(&domain), Arc::clone(&met));
        verify::set_interlude(Some(Box::new(move |version| {
            if version == last && !seen.swap(true, Ordering::SeqCst) {
                worker.does(|session| session.collect(Idle::Inactive));
                assert!(ours.find_version(last).is_none(), "it is kept: this shows nothing");
                if used_again {
                    worker.does(move |session| {
                        for n in 0..500_u64 {
                            let write = |it: &Session| it.write(other, &n.to_ne_bytes());
                            session.atomically(write).unwrap();
                            session.atomically(|it| it.create(&n.to_ne_bytes())).unwrap();
                        }
                    });
                }
            }
        })));
        let report = verify::verify(&domain);
        verify::set_interlude(None);
        assert!(met.load(Ordering::SeqCst), "this shows nothing");
        assert!(report.is_sound(), "{report}");
        // And nothing has leaked.
        run(&domain, |session| session.collect_thoroughly());
        let after = verify::verify(&domain);
        assert!(after.is_sound(), "{after}");
        assert_eq!((after.versions, after.at_work), (after.cells, 0), "{after}");
    }
}

/// What a transaction that runs has made and claimed is its own.
#[test]
fn what_a_running_transaction_holds_is_not_lost() {
    let world = World::new();
    let (domain, cell) = (Arc::clone(&world.domain), world.cell());
    let worker = Worker::new(&domain);
    worker.does(move |session| {
        std::mem::forget(begin_a_commit(session, cell, Phase::Deciding));
    });
    let report = verify::verify(&domain);
    assert!(report.is_sound() && report.at_work == 1, "{report}");
    // The same of one that has forgotten what it did.
    worker.does(move |session| {
        forget_logs(session);
        session.renew_serial();
    });
    let report = verify::verify(&domain);
    let wrong: Vec<Wrong> = report.problems.iter().map(|problem| problem.what).collect();
    assert!(wrong.contains(&Wrong::StaleClaim) && report.at_work == 0, "{report}");
}

/// A transaction that writes, makes and frees, claims one cell, and comes to this phase.
fn begin_a_commit(session: &Session, cell: Handle, phase: Phase) -> Running<'_> {
    let running = session.enter().unwrap();
    assert!(session.begin());
    session.memory.look_at_epoch(session.domain());
    session.write(cell, &1_u64.to_ne_bytes()).unwrap();
    session.write(cell, &2_u64.to_ne_bytes()).unwrap(); // The first is displaced.
    session.create(&3_u64.to_ne_bytes()).unwrap();
    let deciding = StateWord::new(session.serial(), Phase::Deciding);
    session.descriptor().state.store(deciding, Ordering::Release);
    // SAFETY: inside the attempt that has filled the log.
    let done = unsafe { session.commit_of().claim(&mut session.writes.borrow_mut().entries()[0]) };
    assert!(done.is_ok());
    let stamp = session.domain().clock().draw(1);
    session.descriptor().stamp.store(stamp, Ordering::Release);
    session.descriptor().state.store(deciding.with_phase(phase), Ordering::SeqCst);
    running
}

/// Ways to die: what a process leaves, and what the cell is after that.
type Death = (&'static str, fn(&Session, Handle), Option<u64>);

const DEATHS: [Death; 6] = [
    ("between two transactions", retire, Some(50)),
    ("before its commit", write_and_stop, Some(0)),
    (
        "undecided",
        |session, cell| std::mem::forget(begin_a_commit(session, cell, Phase::Deciding)),
        Some(0),
    ),
    (
        "decided",
        |session, cell| std::mem::forget(begin_a_commit(session, cell, Phase::Committed)),
        Some(2),
    ),
    (
        "aborted",
        |session, cell| std::mem::forget(begin_a_commit(session, cell, Phase::Aborted)),
        Some(0),
    ),
    ("after it has freed", free, None),
];

fn retire(session: &Session, cell: Handle) {
    for n in 1..=50_u64 {
        session.atomically(|session| session.write(cell, &n.to_ne_bytes())).unwrap();
    }
}

fn write_and_stop(session: &Session, cell: Handle) {
    std::mem::forget(session.enter().unwrap());
    assert!(session.begin());
    session.memory.look_at_epoch(session.domain());
    for n in 1..=50_u64 {
        session.write(cell, &n.to_ne_bytes()).unwrap();
        session.create(&n.to_ne_bytes()).unwrap();
    }
}

fn free(session: &Session, cell: Handle) {
    session.atomically(|session| session.free(cell)).unwrap();
}

#[test]
fn what_the_dead_have_left_is_judged_as_after_recovery() {
    for (name, die, expected) in DEATHS {
        let world = World::new();
        let (domain, cell) = (Arc::clone(&world.domain), world.cell());
        world.cell();
        in_a_child(|| run(&open::open(&world.path).unwrap(), |session| die(session, cell)));
        // What no thread will take back is told whichever process has died.
        let [lost, unnoted] = run(&domain, |session| {
            let owner = Owner { slot: session.slot, serial: 0 };
            let first = VersionTag::committed(2);
            [(); 2].map(|()| session.memory.new_version(first, owner, cell, 0, &[]).unwrap().1)
        });
        // And what one of them has retired, and not noted: the recoverer does not find it.
        let slots = 0..domain.map.identity().slots;
        let dead = slots.into_iter().find(|slot| liveness::is_slot_of_the_dead(&domain, *slot));
        let (word, _) = domain.map.meta_at(unnoted.offset()).unwrap();
        let meta = contempo_alloc::region::handle::Meta::from_bits(word.load(Ordering::SeqCst));
        let theirs = contempo_alloc::region::epoch::OwnershipEpoch::new(dead.unwrap(), 0);
        word.store(meta.retired_by(theirs).bits(), Ordering::SeqCst);
        let before = std::fs::read(&world.path).unwrap();
        let report = verify::verify(&domain);
        assert_eq!(before, std::fs::read(&world.path).unwrap(), "{name}: the check has written");
        let is_lost = |report: &Report| {
            let lost = [(lost, Wrong::LostVersion), (unnoted, Wrong::RetiredByNone)];
            let mut found: Vec<_> = report.problems.iter().map(|it| (it.offset, it.what)).collect();
            found.sort_by_key(|(offset, _)| *offset);
            let mut expected = lost.map(|(block, what)| (block.offset(), what));
            expected.sort_by_key(|(offset, _)| *offset);
            found == expected
        };
        assert!(is_lost(&report), "{name}: {report}");
        assert!(report.dead == 1 && report.to_recover > 0, "{name}: {report}");
        assert!(report.to_string().contains("judged as after recovery"), "{report}");
        run(&domain, recover::reap);
        let after = verify::verify(&domain);
        assert!(is_lost(&after) && (after.dead, after.to_recover) == (0, 0), "{name}: {after}");
        let count = |it: &Report| (it.cells, it.unreachable, it.versions);
        assert_eq!(count(&report), count(&after), "{name}: {report}\n{after}");
        run(&domain, |session| session.collect_thoroughly());
        let value = run(&domain, |session| session.atomically(|session| value(session, cell)));
        assert_eq!(value.ok(), expected, "{name}");
    }
}
