//! A busy program, and a page about it: transfers among few accounts, an audit that reads all, threads that wait.
//!
//! `cargo run --release -p contempo-live --example busy -- 127.0.0.1:9465` serves until it is ended; without an address it
//! looks once at its own numbers, and ends.

use contempo::{TVar, Transaction, atomically, snapshot};
use contempo_live::view::Looks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let accounts: Vec<_> = (0..4).map(|n| TVar::named(format!("account {n}"), 100_i64)).collect();
    let (mail, over) = (TVar::named("mail", 0_u32), AtomicBool::new(false));
    thread::scope(|scope| {
        for me in 0..3_usize {
            let (accounts, over) = (&accounts, &over);
            scope.spawn(move || {
                let mut round = me;
                // Relaxed: nothing else depends on it.
                while !over.load(Ordering::Relaxed) {
                    round = round.wrapping_mul(25).wrapping_add(7);
                    let (from, to) = (&accounts[round % 4], &accounts[(round >> 3) % 4]);
                    let pay = Transaction::builder().label("pay").run(|tx| {
                        tx.modify(from, |n| n - 1)?;
                        tx.modify(to, |n| n + 1)
                    });
                    pay.expect("without bounds");
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let sum: i64 = snapshot(|view| accounts.iter().map(|it| view.read(it)).sum());
                assert_eq!(sum, 400);
                thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            let reader = Transaction::builder().label("reads mail");
            reader.run(|tx| tx.check(*tx.read(&mail)? > 0))
        });
        let ended = match std::env::args().nth(1) {
            Some(address) => contempo_live::serve(address).map(|live| {
                println!("http://{}/", live.address());
                loop {
                    thread::park();
                }
            }),
            None => {
                let mut looks = Looks::new();
                looks.look("busy", contempo::activity(5));
                thread::sleep(Duration::from_millis(200));
                let view = looks.look("busy", contempo::activity(5));
                println!("{} commits, {:.0} a second", view.commits.total, view.commits.per_second);
                assert!(view.commits.total > 0);
                Ok(())
            }
        };
        over.store(true, Ordering::Relaxed);
        atomically(|tx| tx.write(&mail, 1));
        ended
    })
}
