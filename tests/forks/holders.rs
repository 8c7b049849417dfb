//! What a process that is killed while it holds something of a collection takes with it, and what it does not.

use crate::support::region::{Place, play, role};
use contempo::collections::BroadcastError;
use contempo::shared::collections::{Broadcast, Channel, Latch, MVar, Semaphore, Subscriber};
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
    // Not for want of a look at which processes are alive.
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

/// A subscriber that dies holds nothing up, and what it had not received in full its successor receives; a sender that dies
/// has sent what it had committed, and closes nothing.
#[test]
fn subscribers_of_the_dead() {
    let name = "subscribers_of_the_dead";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let news: Broadcast<u64> = Broadcast::root(&shared, "news", 4).unwrap();
        if role == "sends" {
            shared.atomically(|tx| (0..3).try_for_each(|n| news.send(tx, n).map(drop))).unwrap();
            let _ = shared.atomically(|tx| -> Result<(), _> {
                let _ = news.send(tx, 9)?;
                die()
            });
        }
        let reader = Subscriber::root(&shared, "reader", &news).unwrap();
        assert_eq!(shared.atomically(|tx| reader.recv(tx)).unwrap(), Ok(0));
        let _ = shared.atomically(|tx| -> Result<(), _> {
            assert_eq!(reader.recv(tx)?, Ok(1));
            die()
        });
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let news: Broadcast<u64> = Broadcast::root(&shared, "news", 4).unwrap();
    let reader = Subscriber::root(&shared, "reader", &news).unwrap();
    let other = shared.atomically(|tx| news.subscribe(tx)).unwrap();
    let left = |of: &Subscriber<u64>| shared.snapshot(|view| of.len(view)).unwrap();
    dies(name, "sends", place.path());
    assert_eq!((left(&reader), left(&other)), (3, 3), "what was committed was sent");
    dies(name, "receives", place.path());
    assert_eq!((left(&reader), left(&other)), (2, 3), "the second was not received");
    // Others see all, and what sends does not wait for the dead: it lags, by what is not kept.
    for n in 0..9 {
        if n >= 3 {
            shared.atomically(|tx| news.send(tx, n)).unwrap().unwrap();
        }
        assert_eq!(shared.atomically(|tx| other.recv(tx)).unwrap(), Ok(n));
        if n == 3 {
            // The successor goes on where the transactions of the dead have left the place.
            let reader = Subscriber::root(&shared, "reader", &news).unwrap();
            assert_eq!(shared.atomically(|tx| reader.recv(tx)).unwrap(), Ok(1));
        }
    }
    let next = || shared.atomically(|tx| reader.recv(tx)).unwrap();
    assert_eq!(next(), Err(BroadcastError::Lagged(3)));
    assert_eq!([next(), next(), next(), next()], [5, 6, 7, 8].map(Ok));
    let open = shared.atomically(|tx| reader.try_recv(tx)).unwrap();
    assert_eq!(open, Ok(None), "no death closes it");
    assert!(shared.verify().is_sound(), "{}", shared.verify());
}
