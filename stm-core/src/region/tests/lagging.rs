//! Readers that began long ago, beside writers that go on: how far they have to walk; and what a death, or damage, makes of
//! what is published for that.

use super::*;
use crate::region::chain::{Named, RegionChain};
use crate::region::memory::COLLECTIONS;
use crate::region::verify;
use contempo_alloc::reclaim::collect::BATCH;
use contempo_alloc::reclaim::needs;
use contempo_alloc::reclaim::prune::{AGAIN, Chain, FIRST};
use contempo_sched::descriptor::Descriptor;

/// A snapshot that a thread of its own is inside of, until it is told to look at cells.
struct Lagging {
    look: mpsc::Sender<Vec<Handle>>,
    /// The thread: returns how many versions it walks over, in all of them, and the sum of their values.
    thread: std::thread::JoinHandle<(usize, u64)>,
}

impl Lagging {
    fn begin(domain: &Arc<RegionDomain>) -> Self {
        let (begun, has_begun) = mpsc::channel();
        let (look, cells) = mpsc::channel::<Vec<Handle>>();
        let domain = Arc::clone(domain);
        let thread = std::thread::spawn(move || {
            let look = |session: &Session| {
                begun.send(()).unwrap();
                let cells = cells.recv().unwrap();
                let walked = cells.iter().map(|cell| steps(session, *cell)).sum();
                let mut sum = 0;
                for cell in cells {
                    // SAFETY: values of these cells have 8 bytes.
                    sum += unsafe { session.look(cell)?.data().cast::<u64>().read() };
                }
                Ok((walked, sum))
            };
            run(&domain, |session| session.snapshot(look)).unwrap()
        });
        has_begun.recv().unwrap();
        Lagging { look, thread }
    }

    fn looks_at(self, cells: &[Handle]) -> (usize, u64) {
        self.look.send(cells.to_vec()).unwrap();
        self.thread.join().unwrap()
    }
}

/// Versions from the head of a cell to the one that belongs to the session's bound.
fn steps(session: &Session, cell: Handle) -> usize {
    let domain = session.domain();
    let head = domain.find_cell(cell).unwrap().header.value.handle(Ordering::Acquire);
    let (mut at, mut steps) = (Named::new(domain, head), 0);
    // SAFETY: nothing counts of what is stale (`Named`).
    while unsafe { RegionChain::stamp(at) }.is_none_or(|stamp| stamp > session.reads_at()) {
        at = at.previous().expect("what belongs to the bound");
        steps += 1;
    }
    steps
}

fn cells(world: &World) -> Vec<Handle> {
    (0..100).map(|_| world.cell()).collect()
}

/// Increments each of the cells so often, for this thread's session.
fn write(session: &Session, cells: &[Handle], times: usize) {
    for _ in 0..times {
        for cell in cells {
            let done = session.atomically(|session| {
                let before = value(session, *cell)?;
                session.write(*cell, &(before + 1).to_ne_bytes())
            });
            done.unwrap();
        }
    }
}

#[test]
fn a_snapshot_walks_over_what_was_replaced_since_the_last_look() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let lagging = Lagging::begin(domain);
    run(domain, |session| write(session, &cells, 300));
    let (walked, sum) = lagging.looks_at(&cells);
    assert!(walked < 100 + FIRST, "{walked} steps for 30,000 updates");
    assert_eq!(sum, 0);
    run(domain, |session| session.collect_thoroughly());
    assert!(verify::verify(domain).is_sound());
}

#[test]
fn a_snapshot_arrives_behind_writers_of_four_processes() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let before = in_use(domain);
    let lagging = Lagging::begin(domain);
    let writer = || {
        let domain = open::open(&world.path).unwrap();
        run(&domain, |session| write(session, &cells, 300));
    };
    let children = [(); 4].map(|()| fork(writer));
    children.into_iter().for_each(end_of);
    // What each has not judged; and held.
    assert!(in_use(domain) < before + 100 + 4 * FIRST, "{} blocks", in_use(domain));
    let (walked, sum) = lagging.looks_at(&cells);
    assert!(walked < 100 + 4 * FIRST, "{walked} steps for 120,000 updates");
    assert_eq!(sum, 0);
    run(domain, Session::reap);
    run(domain, Session::collect_thoroughly);
    assert_eq!(in_use(domain), before);
}

/// Blocks of the region that are in use.
fn in_use(domain: &RegionDomain) -> usize {
    let report = verify::verify(domain);
    assert!(report.is_sound(), "{report}");
    report.versions + report.retired
}

#[test]
fn what_no_session_needs_is_freed_while_an_older_one_runs() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let before = in_use(domain);
    let lagging = Lagging::begin(domain);
    run(domain, |session| {
        for _ in 0..3 {
            write(session, &cells, 200);
            // What the snapshot needs, and what was replaced since the last look.
            let most = before + 100 + FIRST;
            assert!(in_use(domain) < most, "{} blocks, {before} before", in_use(domain));
        }
        // The snapshot of another moment needs as much.
        let other = Lagging::begin(domain);
        write(session, &cells, 200);
        assert!(in_use(domain) < before + 200 + FIRST, "{} blocks", in_use(domain));
        assert_eq!(other.looks_at(&cells).1, 100 * 600);
    });
    assert_eq!(lagging.looks_at(&cells).1, 0);
    run(domain, Session::collect_thoroughly);
    assert_eq!(in_use(domain), before);
}

#[test]
fn what_was_taken_out_is_freed_by_its_retirer_or_the_heir() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let before = in_use(domain);
    let lagging = Lagging::begin(domain);
    // A thread that ends leaves what it has retired, of which another takes something out, too.
    for _ in 0..3 {
        let written = cells.clone();
        Worker::new(domain).does(move |session| write(session, &written, 50));
        run(domain, |session| write(session, &cells, 200));
        run(domain, Session::collect_thoroughly);
        assert!(in_use(domain) < before + 100 + FIRST, "{} blocks", in_use(domain));
    }
    assert_eq!(lagging.looks_at(&cells).1, 0);
    run(domain, Session::collect_thoroughly);
    assert_eq!(in_use(domain), before);
}

#[test]
fn what_ended_snapshots_have_needed_is_taken_out_later() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let begin_and_write = |session: &Session| {
        let begun = Lagging::begin(domain);
        write(session, &cells, 22);
        begun
    };
    let lagging = Lagging::begin(domain);
    run(domain, |session| {
        // Each is in the way of a look; and so is one that has begun after them, and goes on.
        let ending: Vec<_> = (0..30).map(|_| begin_and_write(session)).collect();
        let last = begin_and_write(session);
        for (round, other) in ending.into_iter().enumerate() {
            assert_eq!(other.looks_at(&cells).1, round as u64 * 22 * 100);
        }
        // So much is held in the end that the thread looks at all of it again.
        write(session, &cells, 250);
        assert_eq!(last.looks_at(&cells).1, 30 * 22 * 100);
    });
    let (walked, sum) = lagging.looks_at(&cells);
    assert!(walked < 100 + AGAIN + 2 * BATCH, "{walked} steps for 93,000 updates");
    assert_eq!(sum, 0);
}

#[test]
fn versions_of_threads_that_have_ended_are_taken_out_by_others() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let lagging = Lagging::begin(domain);
    for _ in 0..30 {
        let written = cells.clone();
        // None of them holds so much that it would look.
        Worker::new(domain).does(move |session| write(session, &written, 10));
    }
    // The thread that adopts what they have left looks.
    run(domain, Session::collect_thoroughly);
    let (walked, sum) = lagging.looks_at(&cells);
    assert!(walked < 100 + FIRST, "{walked} steps for 30,000 updates");
    assert_eq!(sum, 0);
}

/// A process dies right after its decision; and so does the one that has begun to take its slot over. Others look at the
/// chain, and lead past what the dead one had replaced and not retired.
fn links_of_the_last_transaction_stay() {
    let world = World::new();
    let (domain, cell) = (&world.domain, world.cell());
    let first = Lagging::begin(domain);
    in_a_child(|| {
        let domain = open::open(&world.path).unwrap();
        (0..3).for_each(|_| increment(&domain, cell).unwrap());
        run(&domain, |session| {
            std::mem::forget(session.enter().unwrap());
            assert!(session.begin());
            session.write(cell, &4_u64.to_ne_bytes()).unwrap();
            let (descriptor, serial) = (session.descriptor(), session.serial());
            let deciding = StateWord::new(serial, Phase::Deciding);
            descriptor.state.store(deciding, Ordering::Release);
            // SAFETY: inside the attempt that has filled the log.
            let claimed =
                unsafe { session.commit_of().claim(&mut session.writes.borrow_mut().entries()[0]) };
            assert!(claimed.is_ok());
            descriptor.stamp.store(domain.clock().draw(1), Ordering::Release);
            let committed = deciding.with_phase(Phase::Committed);
            descriptor.state.store(committed, Ordering::Release);
            // As its heir does.
            descriptor.session.store(Descriptor::WORKING, Ordering::Release);
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        });
    });
    // One that needs the dead one's last version, and so has it looked at.
    assert_eq!(total(domain, cell), 4);
    let second = Lagging::begin(domain);
    let by_none = domain.recovering.lock().unwrap();
    run(domain, |session| write(session, &[cell], FIRST + 200));
    drop(by_none);
    assert_eq!(second.looks_at(&[cell]).1, 4);
    assert_eq!(first.looks_at(&[cell]).1, 0);
    run(domain, Session::reap);
    run(domain, Session::collect_thoroughly);
    let report = verify::verify(domain);
    assert!(report.is_sound() && report.retired == 0, "{report}");
}

/// A slot frees what was taken out before what it has retired first, and notes more; then its process dies.
fn what_was_retired_first_is_noted() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let before = in_use(domain);
    let lagging = Lagging::begin(domain);
    in_a_child(|| {
        let domain = open::open(&world.path).unwrap();
        // The first versions, which the snapshot needs, lie in superblocks of the parent's.
        let few = &cells[..30];
        for _ in 0..10 {
            run(&domain, |session| write(session, few, 1));
            run(&domain, Session::collect_thoroughly);
        }
    });
    assert_eq!(lagging.looks_at(&cells).1, 0);
    run(domain, Session::reap);
    run(domain, Session::collect_thoroughly);
    assert_eq!(in_use(domain), before);
}

/// Beside a snapshot that stays, what is empty is used again as it is.
fn what_is_written_beside_a_snapshot_needs_no_more_room() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let lagging = Lagging::begin(domain);
    let length = || domain.map.shared().length.load(Ordering::Relaxed);
    run(domain, |session| {
        let mut after = [0; 3];
        for now in &mut after {
            for round in 0..400_u64 {
                for cell in &cells {
                    let value = [round; 120];
                    let value = value.map(u64::to_ne_bytes).concat();
                    session.atomically(|session| session.write(*cell, &value)).unwrap();
                }
            }
            *now = length();
        }
        assert_eq!(after[2], after[0], "{after:?} bytes");
    });
    assert_eq!(lagging.looks_at(&cells).1, 0);
}

/// The scenario holds, and does not with this fault.
fn holds_unless(test: &str, fault: &str, scenario: impl Fn()) {
    #[cfg(not(contempo_fault))]
    {
        let _ = (test, fault);
        scenario();
    }
    #[cfg(contempo_fault)]
    {
        use contempo_sched::primitives::fault::Fault;
        let faults = [Fault::LastLinkChanged, Fault::MixedUnnoted, Fault::ClosedOneAfterTheOther];
        let fault = *faults.iter().find(|it| format!("{it:?}") == fault).unwrap();
        let test = format!("region::tests::lagging::{test}");
        super::deaths::planted::succeeds_unless(&test, &[fault], || {
            for _ in 0..11 {
                super::deaths::planted::execution();
                scenario();
            }
        });
    }
}

#[test]
fn what_the_dead_had_not_retired_is_found_though_others_have_looked() {
    let test = "what_the_dead_had_not_retired_is_found_though_others_have_looked";
    holds_unless(test, "LastLinkChanged", links_of_the_last_transaction_stay);
}

#[test]
fn what_the_dead_had_retired_first_is_found() {
    let test = "what_the_dead_had_retired_first_is_found";
    holds_unless(test, "MixedUnnoted", what_was_retired_first_is_noted);
}

#[test]
fn a_region_does_not_grow_with_what_is_written_beside_a_snapshot() {
    let test = "a_region_does_not_grow_with_what_is_written_beside_a_snapshot";
    let scenario = what_is_written_beside_a_snapshot_needs_no_more_room;
    holds_unless(test, "ClosedOneAfterTheOther", scenario);
}

#[test]
fn a_bound_that_the_dead_were_about_to_move_to_is_forgotten() {
    let world = World::new();
    let (domain, cell) = (&world.domain, world.cell());
    in_a_child(|| {
        let domain = open::open(&world.path).unwrap();
        increment(&domain, cell).unwrap();
        run(&domain, |session| {
            std::mem::forget(session.enter().unwrap());
            assert!(session.begin());
            needs::begin_move(session.descriptor(), domain.clock(), false, || 0);
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        });
    });
    let moving = || {
        let is_moving = |(_, it): &(u32, &Descriptor)| it.moving.load(Ordering::SeqCst) != 0;
        domain.table().each().filter(is_moving).count()
    };
    assert_eq!(moving(), 1);
    run(domain, Session::reap);
    assert_eq!(moving(), 0);
}

/// Says that all was judged up to so many stamps above the clock, which no look does.
fn judge_above(domain: &RegionDomain, above: u64) {
    let judged = &domain.map.shared().judged;
    // SAFETY: the word, as others could write it. (It is the first of its struct.)
    let until = unsafe { &*std::ptr::from_ref(judged).cast::<AtomicU64>() };
    until.store(domain.clock().now().saturating_add(above), Ordering::SeqCst);
    assert_eq!(until.load(Ordering::SeqCst), judged.until());
}

#[test]
fn more_judged_than_the_clock_shows_is_damage_and_keeps_no_thread_busy() {
    // When it is damaged: before the thread has announced itself, between two of its sessions, or in the middle of one.
    for at in 0..3 {
        // (Threads that end draw some stamps.)
        for above in [1 << 16, 1 << 40, u64::MAX >> 1, u64::MAX] {
            let world = World::new();
            let (domain, cell, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
            let outcome = elsewhere(move || {
                if at > 0 {
                    total(&domain, cell);
                }
                if at < 2 {
                    judge_above(&domain, above);
                }
                let moves = |session: &Session| {
                    if at < 2 {
                        return value(session, cell);
                    }
                    session.write(cell, &1_u64.to_ne_bytes())?;
                    // What it reads next was written meanwhile: it has to move its bound.
                    let ours = Arc::clone(&domain);
                    elsewhere(move || increment(&ours, other)).unwrap();
                    judge_above(&domain, above);
                    value(session, other)
                };
                let read = run(&domain, |session| session.atomically(moves));
                assert!(domain.is_corrupt(), "{above} above the clock: {read:?}");
                matches!(read, Err(Stopped::Corrupt))
            });
            assert!(outcome, "{above} above the clock");
        }
    }
}

/// The descriptor of a child is that of its parent, which still reads at its bound.
#[test]
fn a_forked_child_does_not_move_its_parents_bound() {
    let world = World::new();
    let (domain, cell, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
    run(&domain, |session| {
        let done = session.atomically(|session| {
            session.write(cell, &1_u64.to_ne_bytes())?;
            let ours = Arc::clone(&domain);
            elsewhere(move || increment(&ours, other)).unwrap();
            let published = || {
                let Descriptor { session, moving, .. } = session.descriptor();
                (session.load(Ordering::SeqCst), moving.load(Ordering::SeqCst))
            };
            let before = published();
            in_a_child(|| assert!(value(session, other).is_err()));
            assert_eq!(published(), before);
            // The parent itself moves.
            assert_eq!(value(session, other)?, 1);
            assert!(published().0 > before.0 && published().1 == 0);
            Ok(())
        });
        done.unwrap();
    });
}

/// Each frees a private block at its end: the version that it has written over.
#[test]
fn transactions_beside_a_snapshot_do_not_each_collect() {
    let world = World::new();
    let (domain, cells) = (&world.domain, cells(&world));
    let collections = |session: &Session| {
        let before = COLLECTIONS.get();
        for n in 0..1000 {
            let done = session.atomically(|session| {
                session.write(cells[n % cells.len()], &[0; 8])?;
                session.write(cells[n % cells.len()], &[0; 400])
            });
            done.unwrap();
        }
        COLLECTIONS.get() - before
    };
    let lagging = Lagging::begin(domain);
    run(domain, |session| {
        // Something is closed, and waits for the snapshot.
        for round in 0..400_u64 {
            for cell in &cells {
                let value = [round; 120].map(u64::to_ne_bytes).concat();
                session.atomically(|session| session.write(*cell, &value)).unwrap();
            }
        }
        session.memory.close_empty(domain);
        let made = [collections(session), collections(session)];
        assert!(
            made.iter().all(|made| *made < 200),
            "{made:?} collections in 1,000 transactions each"
        );
    });
    lagging.looks_at(&[]);
}

/// What another process has damaged since the transaction has read it: an aborted claim at the head leads nowhere.
#[test]
fn an_aborted_claim_that_leads_nowhere_is_damage() {
    let world = World::new();
    let (domain, cell, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
    let outcome = run(&domain, |session| {
        session.atomically(|session| {
            session.write(cell, &1_u64.to_ne_bytes())?;
            let head =
                |cell| domain.find_cell(cell).unwrap().header.value.handle(Ordering::Acquire);
            let version = domain.find_version(head(other)).unwrap();
            let owner = Owner { slot: 50, serial: 5 };
            let aborted = StateWord::new(5, Phase::Aborted);
            domain.table().descriptor(50).state.store(aborted, Ordering::SeqCst);
            version.header.prev.word().store(0x1234_5678_9abc, Ordering::SeqCst);
            version.header.version_tag.store(VersionTag::claim(owner), Ordering::SeqCst);
            let link = domain.find_cell(cell).unwrap().header.value.word();
            link.store(head(other).bits(), Ordering::SeqCst);
            Ok(())
        })
    });
    assert!(outcome.is_err() && domain.is_corrupt(), "{outcome:?}");
}
