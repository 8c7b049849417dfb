//! Moments that are too short to be met by chance: brought about step by step, from inside.

use crate::domain::Domain;
use crate::region::domain::{RegionDomain, RegionVersion};
use crate::region::handle::Handle;
use crate::region::memory::FormerRetirer;
use crate::region::open::{self, Options};
use crate::region::session::{Session, Stopped};
use crate::region::thread_session;
use crate::region::{liveness, reclaim_others, recover, slots};
use contempo_alloc::reclaim::announcement::{self, Idle};
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use contempo_sched::words::{Owner, Phase, StateWord, VersionTag};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::mpsc;
use std::time::Duration;

mod checking;
mod deaths;
mod emptying;
mod lagging;
mod stamps;
mod turns;

/// A region for one test.
struct World {
    domain: Arc<RegionDomain>,
    path: PathBuf,
}

impl World {
    fn new() -> Self {
        Self::with(&Options::default())
    }

    fn with(options: &Options) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("contempo-region-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(open::liveness_path(&path));
        World { domain: crate::region::create::create(&path, options).unwrap(), path }
    }

    fn cell(&self) -> Handle {
        run(&self.domain, |session| {
            session.atomically(|session| session.create(&0_u64.to_ne_bytes()))
        })
        .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(open::liveness_path(&self.path));
    }
}

/// Calls `f` with this thread's session.
fn run<R>(domain: &Arc<RegionDomain>, f: impl FnOnce(&Session) -> R) -> R {
    thread_session::with(domain, |session| f(session.unwrap())).unwrap()
}

/// As if what the session's logs name were another thread's.
fn forget_logs(session: &Session) {
    session.reads.borrow_mut().clear();
    session.writes.borrow_mut().clear(false, |_| ());
    session.release();
    announcement::end(session.descriptor());
}

/// Runs `f` on another thread. What hangs is left behind.
fn elsewhere<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(f()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("it hangs")
}

/// A thread of its own that does what it is told, one after the other, with its session. Has left once this is dropped.
struct Worker {
    jobs: Option<mpsc::Sender<(Job, mpsc::Sender<()>)>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&Session) + Send>;

impl Worker {
    fn new(domain: &Arc<RegionDomain>) -> Self {
        let (jobs, work) = mpsc::channel::<(Job, mpsc::Sender<()>)>();
        let domain = Arc::clone(domain);
        let thread = std::thread::spawn(move || {
            run(&domain, |session| {
                for (job, done) in work {
                    job(session);
                    done.send(()).unwrap();
                }
            });
        });
        Worker { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Until it is done.
    fn does(&self, job: impl FnOnce(&Session) + Send + 'static) {
        let (sender, receiver) = mpsc::channel();
        self.jobs.as_ref().unwrap().send((Box::new(job), sender)).unwrap();
        receiver.recv().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs.take();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Runs `f` in a forked child, which ends right after that, as one that was killed.
fn in_a_child(f: impl FnOnce()) {
    end_of(fork(f));
}

fn fork(f: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child ends without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        f();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    child
}

fn end_of(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

fn value(session: &Session, cell: Handle) -> Result<u64, crate::session::error::Interrupt> {
    let version = session.read(cell)?;
    // SAFETY: values of these cells have 8 bytes.
    Ok(unsafe { version.data().cast::<u64>().read() })
}

fn increment(domain: &Arc<RegionDomain>, cell: Handle) -> Result<(), Stopped> {
    run(domain, |session| {
        session.atomically(|session| {
            let before = value(session, cell)?;
            session.write(cell, &(before + 1).to_ne_bytes())
        })
    })
}

fn total(domain: &Arc<RegionDomain>, cell: Handle) -> u64 {
    run(domain, |session| session.atomically(|session| value(session, cell))).unwrap()
}

/// A cell is retired when a thread that began after it was freed has found it in use.
#[test]
fn a_cell_stays_for_a_thread_that_has_found_it_in_use() {
    let world = World::new();
    let (domain, cell, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
    let (found, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut reader = None;
    run(&domain, |session| {
        let (theirs, seen, over) = (Arc::clone(&domain), Arc::clone(&found), Arc::clone(&is_over));
        let (sender, receiver) = mpsc::channel();
        let is_found = Arc::clone(&found);
        session.memory.before_marking.set(move || {
            // Freed and decided. The clock goes on, so that the reader announces a later stamp.
            let thread = std::thread::spawn(move || {
                (0..200).for_each(|_| increment(&theirs, other).unwrap());
                run(&theirs, |session| {
                    let running = session.enter().unwrap();
                    assert!(session.begin());
                    let version = session.see(theirs.decoder(), cell).expect("not retired yet");
                    let header = std::ptr::from_ref(&version.header).cast_mut();
                    seen.store(theirs.handle_of(header).bits(), Ordering::SeqCst);
                    while !over.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    session.end_attempt(false);
                    drop(running);
                });
            });
            while is_found.load(Ordering::SeqCst) == 0 && !thread.is_finished() {
                std::thread::yield_now();
            }
            sender.send(thread).unwrap();
        });
        session.atomically(|session| session.free(cell)).unwrap();
        reader = Some(receiver.recv().unwrap());
        session.collect(Idle::Inactive);
        let version = Handle::from_bits(found.load(Ordering::SeqCst));
        assert!(domain.find_cell(cell).is_some(), "the cell was freed under a reader");
        assert!(domain.find_version(version).is_some(), "its version was freed under a reader");
    });
    is_over.store(true, Ordering::SeqCst);
    reader.unwrap().join().unwrap();
    run(&domain, |session| session.collect_thoroughly());
    assert!(domain.find_cell(cell).is_none());
}

/// A clock that no protocol leaves.
#[test]
fn a_clock_that_was_put_back_is_recognised() {
    let world = World::new();
    let cell = world.cell();
    // SAFETY: the word of the clock, as others could write it. (It is the first of the clock.)
    let clock =
        unsafe { &*std::ptr::from_ref(&world.domain.map.shared().clock).cast::<AtomicU64>() };
    clock.store(0, Ordering::SeqCst);
    let read = run(&world.domain, |session| session.atomically(|session| value(session, cell)));
    assert!(matches!(read, Err(Stopped::Corrupt)), "{read:?}");
}

/// A recoverer is stopped at a version of the dead one's, until that has been freed, and its block is the
/// claim of another.
#[test]
fn a_recoverer_touches_nothing_but_what_it_has_seen() {
    let world = World::new();
    let (domain, cell, other) = (Arc::clone(&world.domain), world.cell(), world.cell());
    in_a_child(|| increment(&open::open(&world.path).unwrap(), cell).unwrap());
    let head = |cell| domain.find_cell(cell).unwrap().header.value.handle(Ordering::Acquire);
    let theirs = head(cell);
    increment(&domain, cell).unwrap(); // The dead one's version is retired by us.
    (0..5).for_each(|_| increment(&domain, other).unwrap());
    let live = head(other);
    let (stopped, is_stopped) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let ours = Arc::clone(&domain);
    let recoverer = std::thread::spawn(move || {
        recover::tests::set_interlude(Some(Box::new(move |version: Handle| {
            if version == theirs {
                stopped.send(()).unwrap();
                may_go_on.recv().unwrap();
            }
        })));
        run(&ours, recover::reap);
        recover::tests::set_interlude(None);
    });
    is_stopped.recv().unwrap();
    run(&domain, |session| {
        session.collect(Idle::Inactive);
        assert!(domain.find_version(theirs).is_none(), "it is kept: this shows nothing");
        reclaim_others::take_over(session);
    });
    let (claimed, is_claimed) = mpsc::channel();
    let (end, may_end) = mpsc::channel::<()>();
    let ours = Arc::clone(&domain);
    let owner = std::thread::spawn(move || {
        run(&ours, |session| {
            let running = session.enter().unwrap();
            assert!(session.begin());
            session.memory.look_at_epoch(&ours);
            let reused = (0..500).any(|_| {
                session.write(other, &999_u64.to_ne_bytes()).unwrap();
                let version = session.writes.borrow_mut().entries()[0].version;
                // SAFETY: ours. Lent, so that the next write takes another block.
                session.lend(unsafe { RegionVersion::of(version) });
                ours.handle_of(version).place() == theirs.place()
            });
            assert!(reused, "its block is not used again: this shows nothing");
            let deciding = StateWord::new(session.serial(), Phase::Deciding);
            session.descriptor().state.store(deciding, Ordering::Release);
            // SAFETY: inside the attempt that has filled the log.
            let done =
                unsafe { session.commit_of().claim(&mut session.writes.borrow_mut().entries()[0]) };
            assert!(done.is_ok());
            claimed.send(()).unwrap();
            may_end.recv().unwrap();
            forget_logs(session);
            session.renew_serial();
            drop(running);
        });
    });
    is_claimed.recv().unwrap();
    go_on.send(()).unwrap();
    recoverer.join().unwrap();
    let claim = domain.find_version(head(other)).unwrap();
    assert!(claim.header.version_tag.load(Ordering::Acquire).owner().is_some(), "undecided");
    let (word, _) = domain.map.meta_at(live.offset()).unwrap();
    let meta = contempo_alloc::region::handle::Meta::from_bits(word.load(Ordering::SeqCst));
    assert!(live.is_in_use(meta), "the newest committed version was retired");
    end.send(()).unwrap();
    owner.join().unwrap();
}

/// A cell that was never born is taken over, and its first version is not; that is freed, and used again, while the
/// cell is freed.
#[test]
fn the_first_version_of_a_cell_is_freed_once() {
    let world = World::new();
    let (domain, other) = (Arc::clone(&world.domain), world.cell());
    let owner = Worker::new(&domain);
    // The owner makes a cell in an attempt that fails.
    let (made, what) = mpsc::channel();
    let ours = Arc::clone(&domain);
    owner.does(move |session| {
        let failed = session.atomically(|session| -> Result<(), _> {
            let cell = session.create(&1_u64.to_ne_bytes())?;
            let first = ours.find_cell(cell).unwrap().header.value.handle(Ordering::Acquire);
            made.send((cell, first, session.slot)).unwrap();
            Err(session.interrupt(Stopped::Cancelled))
        });
        assert!(failed.is_err());
    });
    let (cell, first, slot) = what.recv().unwrap();
    run(&domain, |session| {
        // As `reclaim_others::take_over`, which stops after the cell.
        let work = session.memory.work(&domain);
        let ended = domain.map.slot(slot).unwrap().epoch.end(slot);
        assert!(contempo_alloc::reclaim::barrier::heavy_everywhere());
        // SAFETY: its epoch has ended, and its thread waits.
        assert!(unsafe {
            session.memory.take_over(&domain, FormerRetirer::EndedEpoch(ended), cell)
        });
        drop(work);
        for _ in 0..100 {
            domain.clock().draw(1);
        }
        contempo_alloc::reclaim::announcement::withdraw(session.descriptor());
        let ours = Arc::clone(&domain);
        session.memory.before_last_look.set(move || {
            let domain = Arc::clone(&ours);
            owner.does(move |session| {
                session.collect(Idle::Inactive);
                assert!(domain.find_version(first).is_none(), "it is kept: this shows nothing");
                let reused = (0..500_u64).any(|n| {
                    session.atomically(|session| session.write(other, &n.to_ne_bytes())).unwrap();
                    let head =
                        domain.find_cell(other).unwrap().header.value.handle(Ordering::Acquire);
                    head.place() == first.place()
                });
                assert!(reused, "its block is not used again: this shows nothing");
            });
        });
        session.collect(Idle::Inactive);
    });
    let ours = Arc::clone(&domain);
    elsewhere(move || total(&ours, other));
    assert!(!domain.is_corrupt());
}

/// All slots that are left belong to the dead, and another thread is recovering them.
#[test]
fn a_slot_that_is_being_recovered_is_waited_for() {
    let world = World::with(&Options { slots: Some(2), ..Options::default() });
    let (domain, cell) = (Arc::clone(&world.domain), world.cell());
    in_a_child(|| increment(&open::open(&world.path).unwrap(), cell).unwrap());
    let slot = (0..2).find(|slot| liveness::is_slot_of_the_dead(&domain, *slot)).unwrap();
    let lock_file = domain.map.identity().processes + slot;
    assert!(domain.liveness.try_take(lock_file).unwrap());
    let ours = Arc::clone(&domain);
    let newcomer = std::thread::spawn(move || increment(&ours, cell));
    std::thread::sleep(Duration::from_millis(20));
    domain.liveness.give_up(lock_file).unwrap();
    newcomer.join().expect("it was told that there are too many threads").unwrap();
    assert_eq!(total(&domain, cell), 2);
}

/// A thread that takes a dead slot over holds its liveness lock until the slot is its own.
#[test]
fn a_slot_is_found_dead_by_one_heir_at_a_time() {
    let world = World::with(&Options { slots: Some(1), ..Options::default() });
    let domain = Arc::clone(&world.domain);
    // The one slot is as a thread leaves it that has ended and left something.
    let left = contempo_alloc::region::layout::Incarnation::LEFT.bits();
    domain.map.slot(0).unwrap().process.swap(left, Ordering::SeqCst);
    elsewhere(move || {
        let other = Arc::clone(&domain);
        slots::interludes::set(slots::interludes::Moment::Recovered, move |slot| {
            let found = liveness::Dead::find(&other, slot).unwrap();
            assert!(found.is_none(), "another finds it dead, and would recover it under its heir");
        });
        let heir = slots::take_slot(&domain).unwrap();
        assert!(heir.is_some());
        std::mem::forget(heir);
    });
}

/// A superblock that was used for data in between shows no cells where none were carved.
#[test]
fn what_was_never_carved_is_no_cell() {
    let world = World::new();
    let (domain, live) = (&world.domain, world.cell());
    let make = |count: usize, data: &[u8]| -> Vec<Handle> {
        let all = |session: &Session| (0..count).map(|_| session.create(data)).collect();
        run(domain, |session| session.atomically(all).unwrap())
    };
    let free = |cells: &[Handle]| {
        for some in cells.chunks(500) {
            let all = |session: &Session| some.iter().try_for_each(|cell| session.free(*cell));
            run(domain, |session| session.atomically(all)).unwrap();
        }
        run(domain, |session| {
            for _ in 0..4 {
                session.collect_thoroughly();
                session.memory.close_empty(domain);
                session.collect_thoroughly();
            }
        });
    };
    // Cells all over; then they go, and values come that hold handles, as nodes of collections do.
    let stale: Vec<Handle> = (0..40).flat_map(|_| make(500, &0_u64.to_ne_bytes())).collect();
    free(&stale);
    let handles: Vec<u8> = std::iter::repeat_n(live.bits().to_ne_bytes(), 500).flatten().collect();
    let large: Vec<Handle> = (0..60).flat_map(|_| make(10, &handles)).collect();
    free(&large);
    for _ in 0..400 {
        make(50, &0_u64.to_ne_bytes());
        let found = stale.iter().filter(|cell| domain.find_cell(**cell).is_some()).count();
        assert_eq!(found, 0, "stale handles lead to what looks like cells");
    }
    let value = run(domain, |session| session.atomically(|session| value(session, live)));
    assert_eq!(value.unwrap(), 0);
}
