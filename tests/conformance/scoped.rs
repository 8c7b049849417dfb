//! Hooks that borrow, hooks that may refuse, and values of a transaction's own.

use crate::journal::Journal;
use crate::support::{canary::Cage, elsewhere, guarded, message_of};
use crate::world::{Step, Stop, Transaction, World};
use contempo::{Abort, Scoped, TransactionLocal};
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::thread;

/// A world with such hooks, and with such values.
pub(crate) trait Scopes: World {
    fn atomically_scoped<'env, R>(
        &self,
        body: impl FnMut(&ScopedIn<'_, 'env, Self>) -> Step<R, Self>,
    ) -> R;
    fn try_atomically_scoped<'env, R, E: Debug>(
        &self,
        body: impl FnMut(&ScopedIn<'_, 'env, Self, E>) -> Result<R, Abort<E>>,
    ) -> Result<R, E>;
}

pub(crate) type ScopedIn<'tx, 'env, W, E = std::convert::Infallible> =
    Scoped<'env, <W as World>::Transaction<'tx>, E>;

pub(crate) fn hooks_borrow_from_around_and_have_run_when_it_returns<W: Scopes>() {
    let world = W::new();
    let [seen, out] = world.cells(0);
    let log = &RefCell::new(Vec::new());
    let mut attempt = 0;
    world.atomically_scoped(|tx| {
        attempt += 1;
        let number = attempt;
        tx.on_commit(move || log.borrow_mut().push(format!("{number} committed")));
        tx.on_rollback(move || log.borrow_mut().push(format!("{number} undone")));
        let before = tx.read(&seen)?;
        if number < 3 {
            elsewhere(|| world.set(&seen, before + 1));
        }
        tx.write(&out, 1)
    });
    assert_eq!(*log.borrow(), ["1 undone", "2 undone", "3 committed"]);
}

/// A hook that does not run, and has captured something.
fn capture<'env, W: Scopes>(
    tx: &ScopedIn<'_, 'env, W, &'static str>,
    cage: &Cage,
    ran: &'env Cell<u32>,
) {
    let captured = cage.canary(2);
    tx.on_commit(move || drop((captured, ran.set(100))));
}

pub(crate) fn hooks_that_borrow_are_gone_when_an_error_or_a_panic_leaves<W: Scopes>() {
    let world = W::new();
    let (ran, cage) = (&Cell::new(0), Cage::new());
    let canary = &cage.canary(1);
    let failed: Result<(), _> = world.try_atomically_scoped(|tx| {
        capture::<W>(tx, &cage, ran);
        tx.on_rollback(|| ran.set(ran.get() + canary.sing() as u32));
        Err(Abort::error("mine"))
    });
    assert_eq!((failed, ran.get()), (Err("mine"), 1));
    let message = message_of(|| {
        world.try_atomically_scoped(|tx| -> Result<(), Abort<&'static str>> {
            capture::<W>(tx, &cage, ran);
            tx.on_rollback(|| ran.set(ran.get() + canary.sing() as u32));
            panic!("passes");
        })
    });
    assert_eq!((message.as_str(), ran.get()), ("passes", 2));
    let message = message_of(|| {
        world.atomically_scoped(|tx| {
            tx.on_commit(|| panic!("in a hook"));
            tx.on_commit(|| ran.set(ran.get() + canary.sing() as u32));
            Ok(())
        });
    });
    assert_eq!((message.as_str(), ran.get()), ("in a hook", 3));
    assert_eq!(cage.alive(), 1, "what hooks have captured is dropped, run or not");
}

pub(crate) fn a_hook_before_the_commit_sees_the_end_and_may_refuse<W: Scopes>() {
    let world = W::new();
    let [cell, extra] = &world.cells(5);
    let spend = |amount: u64| {
        world.try_atomically_scoped(|tx| {
            tx.before_commit(|tx| {
                tx.write(extra, tx.read(cell)?)?; // it may write, too
                if tx.read(cell)? > 100 { Err(Abort::error("below zero")) } else { Ok(()) }
            });
            tx.modify(cell, |n| n.wrapping_sub(amount))?;
            Ok(amount)
        })
    };
    assert_eq!((spend(3), world.get(cell), world.get(extra)), (Ok(3), 2, 2));
    assert_eq!((spend(3), world.get(cell), world.get(extra)), (Err("below zero"), 2, 2));
    assert_eq!((spend(2), world.get(cell), world.get(extra)), (Ok(2), 0, 0));
    world.nothing_is_left();
}

pub(crate) fn a_hook_before_the_commit_may_ask_to_wait<W: Scopes>() {
    guarded("a hook that waits", || {
        let world = W::new();
        let [gate, out] = &world.cells(0);
        let undone = &Cell::new(0);
        let opener = thread::spawn({
            let (world, gate) = (world.clone(), gate.clone());
            move || world.set(&gate, 1)
        });
        world.atomically_scoped(|tx| {
            tx.before_commit(|tx| Ok(tx.check(tx.read(gate)? == 1)?));
            tx.on_rollback(|| undone.set(undone.get() + 1));
            tx.write(out, 7)
        });
        assert_eq!((world.get(out), undone.get() <= 1), (7, true));
        opener.join().unwrap();
    });
}

pub(crate) fn hooks_before_the_commit_run_in_order_and_may_register_more<W: Scopes>() {
    let (world, journal) = (W::new(), Journal::default());
    let (cell, log) = (&world.cell(0), &journal);
    world.atomically_scoped(|tx| {
        tx.before_commit(|tx| {
            log.note("first")();
            log.both::<W>(tx, "by the first");
            Ok(())
        });
        tx.before_commit(|tx| {
            log.note("second")();
            Ok(tx.write(cell, 1)?)
        });
        log.both::<W>(tx, "body");
        log.note("closure")();
        Ok(())
    });
    let all = ["closure", "first", "second", "body committed", "by the first committed"];
    assert_eq!((journal.take(), world.get(cell)), (all.map(String::from).to_vec(), 1));
}

pub(crate) fn a_hook_of_a_failed_part_decides_nothing<W: Scopes>() {
    let world = W::new();
    let (cell, ran) = (&world.cell(0), &Cell::new(0));
    let result = world.try_atomically_scoped(|tx| {
        let failed: Result<(), &str> = tx.nested(|_| {
            tx.before_commit(|_| Err(Abort::error("of a failed part")));
            Err(Abort::error("part"))
        })?;
        assert_eq!(failed, Err("part"));
        tx.or_else(
            |inner| {
                tx.before_commit(|_| Err(Abort::error("of a failed side")));
                inner.retry()
            },
            |_| {
                tx.before_commit(|_| {
                    ran.set(ran.get() + 1);
                    Ok(())
                });
                Ok(())
            },
        )?;
        tx.write(cell, 1)?;
        Ok::<_, Abort<&str>>(())
    });
    assert_eq!((result, ran.get(), world.get(cell)), (Ok(()), 1, 1));
}

pub(crate) fn a_panic_before_the_commit_leaves_nothing<W: Scopes>() {
    let (world, journal) = (W::new(), Journal::default());
    let (cell, log) = (&world.cell(0), &journal);
    let message = message_of(|| {
        world.atomically_scoped(|tx| {
            log.both::<W>(tx, "1");
            tx.before_commit(|_| panic!("no"));
            tx.before_commit(|_| unreachable!("after a panic"));
            tx.write(cell, 1)
        });
    });
    assert_eq!((message.as_str(), journal.take()), ("no", vec!["1 undone".to_owned()]));
    assert_eq!(world.get(cell), 0);
    // What is swallowed is told as ever, and nothing decides then.
    let message = message_of(|| {
        world.atomically_scoped(|tx| {
            tx.before_commit(|_| unreachable!("the attempt is interrupted"));
            let _ = tx.retry::<()>();
            Ok(())
        });
    });
    assert!(message.contains("swallowed"), "{message}");
    let message = message_of(|| {
        world.atomically_scoped(|tx| {
            tx.before_commit(|tx| {
                let _ = tx.retry::<()>();
                Ok(())
            });
            Ok(())
        });
    });
    assert!(message.contains("swallowed"), "{message}");
    world.nothing_is_left();
}

static STEPS: TransactionLocal<Vec<u32>> = TransactionLocal::new(Vec::new);
static OTHER: TransactionLocal<u32> = TransactionLocal::new(|| 7);

fn step<W: Scopes>(tx: &W::Transaction<'_>, number: u32) {
    let mut steps = STEPS.get(tx);
    steps.push(number);
    STEPS.set(tx, steps);
}

pub(crate) fn each_attempt_has_values_of_its_own<W: Scopes>() {
    let world = W::new();
    let [seen, out] = world.cells(0);
    let mut attempt = 0;
    let steps = world.atomically(|tx| {
        attempt += 1;
        assert_eq!((STEPS.get(tx), OTHER.get(tx)), (vec![], 7));
        step::<W>(tx, attempt);
        OTHER.set(tx, attempt);
        step::<W>(tx, 10);
        let before = tx.read(&seen)?;
        if attempt < 3 {
            elsewhere(|| world.set(&seen, before + 1));
        }
        // The value is seen by what runs in it, and by no other transaction.
        let (other, cell) = (world.clone(), seen.clone());
        tx.on_commit(move || {
            let steps = other.atomically(|tx| {
                tx.read(&cell)?;
                Ok(STEPS.get(tx))
            });
            assert!(steps.is_empty(), "{steps:?}");
        });
        tx.write(&out, 1)?;
        Ok((STEPS.get(tx), OTHER.get(tx)))
    });
    assert_eq!(steps, (vec![3, 10], 3));
}

pub(crate) fn a_part_that_fails_takes_its_values_back<W: Scopes>() {
    let world = W::new();
    let steps = world.atomically(|tx| {
        step::<W>(tx, 1);
        let failed: Result<(), ()> = tx.nested(|tx| {
            step::<W>(tx, 2);
            step::<W>(tx, 3);
            OTHER.set(tx, 8);
            Err(Abort::error(()))
        })?;
        assert_eq!((failed, OTHER.get(tx)), (Err(()), 7));
        step::<W>(tx, 4);
        tx.nested(|tx| {
            step::<W>(tx, 5);
            let failed: Result<(), ()> = tx.nested(|tx| {
                step::<W>(tx, 6);
                Err(Abort::error(()))
            })?;
            assert_eq!(failed, Err(()));
            step::<W>(tx, 7);
            Ok::<_, Abort<()>>(())
        })?
        .unwrap();
        tx.or_else(
            |tx| {
                step::<W>(tx, 8);
                tx.retry()
            },
            |tx| {
                step::<W>(tx, 9);
                Ok::<_, Stop<W>>(())
            },
        )?;
        Ok(STEPS.get(tx))
    });
    assert_eq!(steps, [1, 4, 5, 7, 9]);
}

pub(crate) fn values_are_dropped_when_nothing_can_bring_them_back<W: Scopes>() {
    static CANARY: TransactionLocal<Option<contempo_verify::canary::Canary>> =
        TransactionLocal::new(|| None);
    let (world, cage) = (W::new(), Cage::new());
    world.atomically(|tx| {
        for n in 0..100 {
            CANARY.set(tx, Some(cage.canary(n)));
            assert_eq!(cage.alive(), 1, "of a loop one stays");
        }
        let failed: Result<(), ()> = tx.nested(|tx| {
            for n in 0..100 {
                CANARY.set(tx, Some(cage.canary(n)));
            }
            assert_eq!(cage.alive(), 2, "and one to come back");
            Err(Abort::error(()))
        })?;
        assert_eq!(failed, Err(()));
        Ok(())
    });
    assert_eq!(cage.alive(), 0);
}
