//! What `collect` promises. One test, so that no other thread of the process reclaims anything.

use crate::gone::are_alive;
use crate::support::alone;
use crate::support::canary::Cage;
use contempo::TVar;
use std::thread;

#[test]
fn collect_frees_what_only_an_idle_thread_could_have_seen() {
    let _turn = alone();
    // "As far as no contemporary holds it": a thread that is outside any transaction is none.
    let cage = Cage::new();
    let cell = TVar::new(cage.canary(0));
    let (ready, wait) = std::sync::mpsc::channel();
    let (go, end) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        let cell = &cell;
        scope.spawn(move || {
            cell.load();
            ready.send(()).unwrap();
            let _ = end.recv();
        });
        wait.recv().unwrap();
        (0..10).for_each(|n| cell.store(cage.canary(n)));
        contempo::collect();
        drop(go);
        are_alive(&cage, 1, "after a collection");
    });
}
