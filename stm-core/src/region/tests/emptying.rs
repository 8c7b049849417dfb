//! A superblock that is being emptied belongs to its slot, and is in none of its lists.

use super::*;
use contempo_alloc::region::superblock::Superblock;

#[cfg(contempo_fault)]
#[path = "../../../tests/planted/mod.rs"]
mod planted;

/// A thread makes many values, of which few are left, and begins to empty the superblock at the place that is returned.
fn begin_emptying(session: &Session, domain: &RegionDomain) -> usize {
    let create = |session: &Session| session.create(&0_u64.to_ne_bytes());
    let cells: Vec<Handle> = (0..2500).map(|_| session.atomically(create).unwrap()).collect();
    for cell in &cells[..2400] {
        session.atomically(|session| session.free(*cell)).unwrap();
    }
    session.collect(Idle::Inactive);
    session.memory.begin_emptying(domain).expect("two of three superblocks are empty")
}

/// The slot's epoch ends before the superblock is one of the slot's again; with `taken`, another thread has taken over
/// what the slot had.
fn an_epoch_ends_meanwhile(taken: bool) {
    let world = World::new();
    let domain = Arc::clone(&world.domain);
    let worker = Worker::new(&domain);
    let (sender, receiver) = mpsc::channel();
    let ours = Arc::clone(&domain);
    worker.does(move |session| {
        let create = |session: &Session| session.create(&0_u64.to_ne_bytes());
        let cells: Vec<Handle> = (0..2500).map(|_| session.atomically(create).unwrap()).collect();
        for cell in &cells[..2400] {
            session.atomically(|session| session.free(*cell)).unwrap();
        }
        session.collect(Idle::Inactive);
        let offset = session.memory.begin_emptying(&ours).expect("two of the three are empty");
        sender.send((session.slot, offset)).unwrap();
    });
    let (slot, offset) = receiver.recv().unwrap();
    let owner = || Superblock::at(&domain.map, offset).unwrap().state().owner();
    assert_eq!(owner().map(|owner| owner.slot()), Some(slot));
    if taken {
        run(&domain, reclaim_others::take_over);
        assert_eq!(owner(), None);
    } else {
        domain.map.slot(slot).unwrap().epoch.end(slot);
    }
    let ours = Arc::clone(&domain);
    worker.does(move |session| session.memory.end_emptying(&ours));
    drop(worker);
    assert_eq!(owner(), None, "it is lost");
}

#[test]
fn what_is_being_emptied_is_given_up_when_the_epoch_ends() {
    #[cfg(not(contempo_fault))]
    [false, true].into_iter().for_each(an_epoch_ends_meanwhile);
    #[cfg(contempo_fault)]
    planted::succeeds_unless(
        "region::tests::emptying::what_is_being_emptied_is_given_up_when_the_epoch_ends",
        &[contempo_sched::primitives::fault::Fault::EmptiedKept],
        || {
            for _ in 0..6 {
                planted::execution();
                an_epoch_ends_meanwhile(true);
                planted::execution();
                an_epoch_ends_meanwhile(false);
            }
        },
    );
}

/// A process dies while it empties a superblock.
#[test]
fn what_a_dead_process_was_emptying_is_given_up() {
    let world = World::new();
    in_a_child(|| {
        let domain = open::open(&world.path).unwrap();
        run(&domain, |session| {
            begin_emptying(session, &domain);
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        });
    });
    let owners = || {
        let all = Superblock::all(&world.domain.map);
        all.filter_map(|superblock| superblock.state().owner()).map(|owner| owner.slot())
    };
    let slot = run(&world.domain, |session| session.slot);
    assert!(owners().any(|owner| owner != slot), "it has left nothing: this shows nothing");
    run(&world.domain, recover::reap);
    assert!(owners().all(|owner| owner == slot), "what it was emptying is lost");
}
