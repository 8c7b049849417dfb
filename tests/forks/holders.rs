//! What a process that is killed while it holds something of a collection takes with it, and what it does not.

use crate::support::region::{Place, play, role};
use contempo::shared::collections::{Channel, Latch, MVar, Semaphore};
use contempo::shared::{Options, Shared};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::mpsc::TryRecvError;

fn dies(test: &str, role: &str, place: &Path) {
    let mut child = play(test, role, place);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL), "{role}");
}

fn die() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("dead")
}

fn semaphore(shared: &Shared) -> Semaphore {
    Semaphore::root(shared, "permits", 2).unwrap()
}

/// Permits that were acquired by a transaction of its own are missing until another gives them back; those of a
/// transaction that was not over never were.
#[test]
fn permits_of_the_dead() {
    let name = "permits_of_the_dead";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let permits = semaphore(&shared);
        if role == "holds" {
            shared.atomically(|tx| permits.acquire(tx, 1)).unwrap();
            die();
        }
        let _ = shared.atomically(|tx| -> Result<(), _> {
            permits.acquire(tx, 1)?;
            die()
        });
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let permits = semaphore(&shared);
    let free = || shared.snapshot(|view| permits.available(view)).unwrap();
    dies(name, "acquires", place.path());
    assert_eq!(free(), 2);
    dies(name, "holds", place.path());
    assert_eq!(free(), 1);
    // Not for want of a look at who is alive.
    assert!(shared.reap().unwrap().slots >= 1); // The second may have found the first.
    assert_eq!(free(), 1);
    // The others go on with what is left, and can give it back for the dead.
    shared.atomically(|tx| permits.acquire(tx, 1)).unwrap();
    shared.atomically(|tx| permits.release(tx, 2)).unwrap();
    assert_eq!(free(), 2);
    assert!(shared.verify().is_sound(), "{}", shared.verify());
}

/// What was sent stays; what was received in a transaction that was not over, too; what was received before that is gone.
/// The channel stays open.
#[test]
fn items_of_the_dead() {
    let name = "items_of_the_dead";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let channel: Channel<u64> = Channel::root(&shared, "items", 4).unwrap();
        match &role[..] {
            "sends" => {
                for n in 0..3 {
                    shared.atomically(|tx| channel.send(tx, n)).unwrap().unwrap();
                }
                let _ = shared.atomically(|tx| -> Result<(), _> {
                    let _ = channel.send(tx, 9)?;
                    die()
                });
            }
            "works" => {
                let _ = shared.atomically(|tx| -> Result<(), _> {
                    let _ = channel.recv(tx)?;
                    die()
                });
            }
            _ => assert!(shared.atomically(|tx| channel.recv(tx)).unwrap().is_ok()),
        }
        die();
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let channel: Channel<u64> = Channel::root(&shared, "items", 4).unwrap();
    dies(name, "sends", place.path());
    assert_eq!(shared.snapshot(|view| channel.len(view)).unwrap(), 3, "what was sent stays");
    dies(name, "works", place.path());
    assert_eq!(shared.snapshot(|view| channel.len(view)).unwrap(), 3, "it had not done with it");
    dies(name, "takes", place.path());
    let left = shared.atomically(|tx| channel.drain(tx)).unwrap();
    assert_eq!(left, [1, 2], "the first one is gone with its receiver");
    let open = shared.atomically(|tx| channel.try_recv(tx)).unwrap();
    assert_eq!(open, Err(TryRecvError::Empty), "no death closes it");
    shared.atomically(|tx| channel.close(tx)).unwrap();
    assert!(shared.atomically(|tx| channel.recv(tx)).unwrap().is_err());
    assert!(shared.verify().is_sound(), "{}", shared.verify());
}

/// A process that dies asleep, waiting for any of them, leaves nothing, and takes no wake-up with it.
#[test]
fn sleepers_of_the_dead() {
    let name = "sleepers_of_the_dead";
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let slot: MVar<u64> = MVar::root(&shared, "slot").unwrap();
        let waits = Latch::root(&shared, "waits", 1).unwrap();
        // All that is done before it sleeps.
        shared.atomically(|tx| waits.count_down(tx)).unwrap();
        shared.atomically(|tx| slot.take(tx)).unwrap();
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let slot: MVar<u64> = MVar::root(&shared, "slot").unwrap();
    let waits = Latch::root(&shared, "waits", 1).unwrap();
    let mut sleeper = play(name, "sleeps", place.path());
    shared.atomically(|tx| waits.wait(tx)).unwrap();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| shared.atomically(|tx| slot.take(tx)));
        shared.atomically(|tx| slot.put(tx, 7)).unwrap();
        assert_eq!(taker.join().unwrap().unwrap(), 7);
    });
    assert!(shared.verify().is_sound(), "{}", shared.verify());
}
