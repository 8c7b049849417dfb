//! Turns between threads of a region: ticket queues, escalation, and what a thread remembers of its bad luck.

use super::*;
use crate::protocol::commit::Conflict;
use crate::region::turns::Pause;
use contempo_sched::contention::turns::revoke_silent;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::time;
use contempo_sched::words::Rank;
use std::time::Instant;

/// Two threads contend for one cell, in whose queue a thread has drawn a ticket and died.
#[test]
fn a_dead_waiter_in_a_ticket_queue_is_passed_over() {
    let world = World::new();
    let (domain, cell) = (&world.domain, world.cell());
    let key = std::ptr::from_ref(&domain.find_cell(cell).unwrap().header).addr();
    let queue = &domain.map.shared().ticket_queues[domain.ticket_queue_of(key)];
    let dead = queue.join(u32::MAX - 1);
    let stop = AtomicBool::new(false);
    let yields = || -> u64 {
        domain.table().each().map(|(_, descriptor)| descriptor.counters.yields.get()).sum()
    };
    let (count, seen) = std::thread::scope(|scope| {
        let work = || {
            let mut count = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                increment(domain, cell).unwrap();
                count += 1;
            }
            count
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        let end = Instant::now() + Duration::from_secs(60);
        while (queue.head() == dead || yields() == 0) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let seen = (queue.head(), yields());
        stop.store(true, Ordering::Relaxed);
        (threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>(), seen)
    });
    assert_ne!(seen.0, dead, "they wait for the dead");
    assert!(seen.1 > 0, "no thread has given way");
    assert_eq!(total(domain, cell), count);
}

/// A transaction that has lost joins a queue, and runs its rollback hooks before it waits there. One of them panics.
#[test]
fn a_transaction_that_ends_before_it_waits_leaves_its_ticket_queue() {
    let world = World::new();
    let (domain, cell) = (&world.domain, world.cell());
    let header = &domain.find_cell(cell).unwrap().header;
    let queue = &domain.map.shared().ticket_queues
        [domain.ticket_queue_of(std::ptr::from_ref(header).addr())];
    let joined = run(domain, |session| {
        let lost = || {
            session.turns.note(&Conflict::at(Cause::Claimed, header));
            session.lost(Cause::Claimed)
        };
        let mut pause = lost();
        for _ in 0..8 {
            if matches!(pause, Pause::TicketQueue(..)) {
                break;
            }
            pause = lost();
        }
        (matches!(pause, Pause::TicketQueue(..)), queue.head())
    });
    assert!(joined.0, "it has never queued");
    let next = queue.join(0);
    assert_eq!(queue.ahead(next), 0, "the next one waits for it");
    assert_eq!(queue.head(), joined.1.wrapping_add(1));
}

/// One that escalates stops between its claim and its decision.
#[test]
fn an_escalated_thread_that_stops_in_its_commit_stops_no_other() {
    let world = World::new();
    let (domain, cell) = (Arc::clone(&world.domain), world.cell());
    let (stopped, is_stopped) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let theirs = Arc::clone(&domain);
    let one = std::thread::spawn(move || {
        run(&theirs, |session| {
            let _running = session.enter().unwrap();
            // It has failed once, and was told to escalate.
            assert!(session.begin());
            session.has_bad_luck(time::now(), 1);
            value(session, cell).unwrap();
            session.remember_touched();
            session.end_attempt(false);
            assert!(session.begin());
            session.escalate_if_due();
            value(session, cell).unwrap();
            session.write(cell, &100_u64.to_ne_bytes()).unwrap();
            let deciding = StateWord::new(session.serial(), Phase::Deciding);
            session.descriptor().state.store(deciding, Ordering::Release);
            // SAFETY: inside the attempt that has filled the log.
            let claimed =
                unsafe { session.commit_of().claim(&mut session.writes.borrow_mut().entries()[0]) };
            assert!(claimed.is_ok());
            stopped.send(()).unwrap();
            may_go_on.recv().unwrap();
            // It was aborted from outside. What it has published is never freed here: that is for `commit`.
            let state = session.descriptor().state.load(Ordering::Acquire);
            forget_logs(session);
            session.forget_bad_luck();
            session.renew_serial();
            state.phase()
        })
    });
    is_stopped.recv().unwrap();
    let ours = Arc::clone(&domain);
    elsewhere(move || increment(&ours, cell)).unwrap();
    assert_eq!(total(&domain, cell), 1);
    go_on.send(()).unwrap();
    assert_eq!(one.join().unwrap(), Phase::Aborted);
}

/// A thread that is revoked for want of a sign of life is given more time.
#[test]
fn the_grace_of_a_thread_that_was_revoked_grows() {
    let world = World::new();
    let cell = world.cell();
    run(&world.domain, |session| {
        let running = session.enter().unwrap();
        assert!(session.begin());
        value(session, cell).unwrap();
        session.has_bad_luck(1, 1);
        session.remember_touched();
        session.end_attempt(false);
        let grace = session.domain().grace();
        let lock_file = || session.descriptor().current_grace(grace);
        for now in 1..4 {
            assert!(session.begin());
            session.escalate_if_due();
            let lock = world.domain.find_cell(cell).unwrap().header.lock.load(Ordering::SeqCst);
            let (before, turn) = (lock_file(), lock.reservation().expect("it escalates"));
            assert!(revoke_silent(world.domain.table(), turn, now));
            session.has_bad_luck(now + grace.least(), 1);
            assert_eq!(lock_file(), before + 2 * grace.least());
            value(session, cell).unwrap();
            session.remember_touched();
            session.end_attempt(false);
        }
        session.forget_bad_luck();
        drop(running);
    });
}

/// In a damaged region the head of a cell is a claim of a transaction that has long ended.
#[test]
fn an_escalated_thread_recognises_a_claim_that_no_thread_has_made() {
    let world = World::new();
    let (domain, cell) = (Arc::clone(&world.domain), world.cell());
    elsewhere(move || {
        run(&domain, |session| {
            let running = session.enter().unwrap();
            assert!(session.begin());
            let found = domain.find_cell(cell).unwrap();
            let head = found.header.value.handle(Ordering::Acquire);
            let absent = VersionTag::claim(Owner { slot: 7, serial: 77 });
            let version = domain.find_version(head).unwrap();
            version.header.version_tag.store(absent, Ordering::SeqCst);
            // SAFETY: inside an attempt; the cell is alive.
            let cleared = unsafe { session.commit_of().clear_of_claims(&found.header) };
            assert!(cleared.is_err() && domain.is_corrupt());
            session.end_attempt(false);
            drop(running);
        });
    });
}

/// A child that was forked in a closure leaves its parent's rank alone.
#[test]
fn a_child_forgets_only_its_own_bad_luck() {
    let world = World::new();
    run(&world.domain, |session| {
        session.has_bad_luck(7, 1);
        in_a_child(|| session.forget_bad_luck());
        assert_eq!(session.descriptor().rank.load(Ordering::Relaxed), 7);
        session.forget_bad_luck();
        assert_eq!(session.descriptor().rank.load(Ordering::Relaxed), Rank::NONE);
    });
}
