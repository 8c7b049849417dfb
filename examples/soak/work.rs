//! What the threads of the soak do.

use contempo::{
    Abort, StmResult, TVar, Transaction, atomically, atomically_on, snapshot, try_atomically,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const ACCOUNTS: usize = 64;
const BALANCE: u64 = 1000;
/// What a thread does before another takes its place.
const LIFE: u32 = 2000;

/// The payload of a panic that is part of the work.
pub(crate) struct Planned;

/// A value that counts itself: what is dropped twice, or never, is found.
#[derive(Clone)]
#[expect(dead_code, reason = "what counts is that it is there")]
struct Counted(Arc<()>);

struct Node {
    value: u64,
    next: TVar<Option<Arc<Node>>>,
}

/// What all threads share.
pub(crate) struct World {
    accounts: Vec<TVar<u64>>,
    counted: TVar<Counted>,
    alive: Arc<()>,
    stack: TVar<Option<Arc<Node>>>,
    token: TVar<bool>,
    wrong_totals: AtomicU64,
    operations: AtomicU64,
    closed: TVar<bool>,
}

impl World {
    pub(crate) fn new() -> Self {
        let name = |n: usize| TVar::named(format!("accounts/{n}"), BALANCE);
        let alive = Arc::new(());
        World {
            accounts: (0..ACCOUNTS).map(name).collect(),
            counted: TVar::new(Counted(Arc::clone(&alive))),
            alive,
            stack: TVar::new(None),
            token: TVar::named("token", true),
            wrong_totals: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            closed: TVar::new(false),
        }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Ends every wait.
    pub(crate) fn wake_everyone(&self) {
        self.closed.store(true);
    }

    /// A thread's life.
    pub(crate) fn live(&self, seed: u64, stop: &AtomicBool) {
        let mut random = SmallRng::seed_from_u64(seed);
        for done in 1..=LIFE {
            self.step(&mut random);
            if done % 64 == 0 {
                self.operations.fetch_add(64, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }

    fn step(&self, random: &mut SmallRng) {
        // Few accounts are wanted much.
        let mut pick = || {
            let skewed = random.random_range(0.0..1.0_f64).powi(3) * ACCOUNTS as f64;
            &self.accounts[(skewed as usize).min(ACCOUNTS - 1)]
        };
        let (from, to) = (pick(), pick());
        let amount = random.random_range(0..20);
        match random.random_range(0..100) {
            0..40 => {
                atomically(|tx| transfer(tx, from, to, amount));
            }
            40..50 => {
                atomically_on((from, to), |tx| transfer(tx, from, to, amount));
            }
            50..60 => self.audit(),
            60..65 => self.turn_down(from, to, amount),
            65..68 => self.panic(from, to, amount),
            68..72 => self.long(random.random_range(2..=ACCOUNTS)),
            72..80 => self.counted.update(|counted| counted.clone()),
            80..86 => self.push(amount),
            86..92 => self.pop(),
            92..96 => self.hold_token(),
            96..98 => {
                let bounded = Transaction::builder().timeout(Duration::from_micros(200));
                // Whether it was in time does not matter.
                let _ = bounded.run(|tx| transfer(tx, from, to, amount));
            }
            _ => self.wait_a_little(from),
        }
    }

    fn audit(&self) {
        let total: u64 =
            snapshot(|view| self.accounts.iter().map(|account| view.read(account)).sum());
        self.note_total(total);
        let total = atomically(|tx| {
            self.accounts.iter().map(|account| Ok(*tx.read(account)?)).sum::<StmResult<u64>>()
        });
        self.note_total(total);
    }

    fn note_total(&self, total: u64) {
        if total != ACCOUNTS as u64 * BALANCE {
            self.wrong_totals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A transfer that is refused at its end, in part or as a whole.
    fn turn_down(&self, from: &TVar<u64>, to: &TVar<u64>, amount: u64) {
        let refused: Result<(), &str> = try_atomically(|tx| {
            transfer(tx, from, to, amount)?;
            Err(Abort::error("refused"))
        });
        assert_eq!(refused, Err("refused"));
        atomically(|tx| {
            tx.nested(|tx| {
                transfer(tx, from, to, amount)?;
                Err::<(), _>(Abort::error("refused"))
            })
        })
        .expect_err("refused");
    }

    /// A transfer whose closure panics.
    fn panic(&self, from: &TVar<u64>, to: &TVar<u64>, amount: u64) {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            atomically(|tx| -> StmResult<()> {
                transfer(tx, from, to, amount)?;
                std::panic::panic_any(Planned)
            })
        }));
        assert!(panicked.is_err());
    }

    /// Moves one unit round through many accounts.
    fn long(&self, length: usize) {
        atomically(|tx| {
            for pair in self.accounts[..length].windows(2) {
                transfer(tx, &pair[0], &pair[1], 1)?;
            }
            transfer(tx, &self.accounts[length - 1], &self.accounts[0], 1)
        });
    }

    fn push(&self, value: u64) {
        atomically(|tx| {
            let next = TVar::new(tx.read(&self.stack)?.clone());
            tx.write(&self.stack, Some(Arc::new(Node { value, next })))
        });
    }

    fn pop(&self) {
        atomically(|tx| {
            let Some(top) = tx.read(&self.stack)? else { return Ok(0) };
            let next = tx.read(&top.next)?.clone();
            tx.write(&self.stack, next)?;
            Ok(top.value)
        });
    }

    /// Waits for the token, and gives it back.
    fn hold_token(&self) {
        let got = atomically(|tx| {
            tx.or_else(
                |tx| {
                    tx.check(*tx.read(&self.token)?)?;
                    tx.write(&self.token, false)?;
                    Ok(true)
                },
                |tx| {
                    tx.check(*tx.read(&self.closed)?)?;
                    Ok(false)
                },
            )
        });
        if got {
            self.token.store(true);
        }
    }

    /// Waits until an account changes, for a moment at most.
    fn wait_a_little(&self, account: &TVar<u64>) {
        let before = account.load();
        atomically(|tx| {
            if *tx.read(account)? == before {
                tx.retry_timeout(Duration::from_micros(100))?;
            }
            Ok(())
        });
    }

    /// What is wrong at the end.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.audit();
        let totals = self.wrong_totals.load(Ordering::Relaxed);
        if totals > 0 {
            wrong.push(format!("{totals} audits saw a wrong total"));
        }
        // The newest value of `counted` and `alive` itself; others only until they are reclaimed.
        let start = std::time::Instant::now();
        while Arc::strong_count(&self.alive) > 2 && start.elapsed() < Duration::from_secs(5) {
            contempo::collect();
        }
        let held = Arc::strong_count(&self.alive);
        if held != 2 {
            wrong.push(format!("{held} owners of a value instead of 2: something leaked"));
        }
        if !self.token.load() {
            wrong.push("the token was lost".to_owned());
        }
        wrong
    }
}

/// Moves `amount`, or less if there is less.
fn transfer(tx: &Transaction<'_>, from: &TVar<u64>, to: &TVar<u64>, amount: u64) -> StmResult<()> {
    let balance = *tx.read(from)?;
    let amount = amount.min(balance);
    tx.write(from, balance - amount)?;
    tx.modify(to, |balance| balance + amount)
}
