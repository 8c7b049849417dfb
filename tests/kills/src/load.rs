//! What the victims do, and how to see afterwards whether they did it.

use contempo::shared::collections::{Map, Queue};
use contempo::shared::{Abort, Cell, Interrupt, Options, Shared, Transaction, TransactionError};
use nix::sys::signal::{Signal, raise};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::process::ExitCode;

/// Accounts.
pub(crate) const ACCOUNTS: usize = 8;
/// Attempts after which a transaction reserves what it needs.
const LOST: u32 = 8;
/// What all have together.
pub(crate) const TOTAL: u64 = 1000 * ACCOUNTS as u64;

/// The kinds of transactions.
pub(crate) const KINDS: [&str; 6] = ["transfer", "text", "structure", "insert", "parts", "take"];
/// Those that are swept: also one that has lost eight times, and so reserves what it needs.
pub(crate) const SWEPT: [&str; 7] =
    ["escalate", "transfer", "text", "structure", "insert", "parts", "take"];
/// Swept on its own: a collection that takes out of their chains what no session needs, beside a reader that lags.
pub(crate) const LAG: &str = "lag";
/// How often what the reader has seen is written before that.
const WRITTEN: usize = 6;
/// Swept on its own: one that finds no room, and takes over what the survivor holds.
pub(crate) const ROOM: &str = "room";

/// The cells of the load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    accounts: [Cell<u64>; ACCOUNTS],
    /// How many transactions have committed: in every transaction.
    pub(crate) count: Cell<u64>,
    /// Two texts that are always the same, of changing length.
    texts: [Cell<str>; 2],
    /// With few of these in a bucket, so that buckets are split and made one again all the time.
    map: Map<u64, [u64; 40]>,
    queue: Queue<u64>,
    /// Entries of the map and items of the queue.
    entries: Cell<u64>,
    items: Cell<u64>,
    /// Cells of the directory of roots.
    pub(crate) directory: usize,
}

type Failed = Box<dyn std::error::Error>;

impl Load {
    pub(crate) fn new(shared: &Shared) -> Result<Self, Failed> {
        let mut accounts = [Cell::null(); ACCOUNTS];
        for (number, account) in accounts.iter_mut().enumerate() {
            *account = shared.root(&format!("account {number}"), TOTAL / ACCOUNTS as u64)?;
        }
        Ok(Load {
            accounts,
            count: shared.root("count", 0)?,
            texts: [shared.root_of("text 1", "")?, shared.root_of("text 2", "")?],
            map: Map::root(shared, "map", 1)?,
            queue: Queue::root(shared, "queue")?,
            entries: shared.root("entries", 0)?,
            items: shared.root("items", 0)?,
            directory: 1,
        })
    }

    /// One transaction of this kind.
    pub(crate) fn run(
        &self,
        tx: &Transaction<'_>,
        kind: &str,
        random: &mut impl RngExt,
    ) -> Result<(), Interrupt> {
        match kind {
            "transfer" => {
                let (from, to) =
                    (random.random_range(0..ACCOUNTS), random.random_range(0..ACCOUNTS));
                let sum = tx.read(self.accounts[from])?.min(random.random_range(1..10));
                tx.modify(self.accounts[from], |balance| balance - sum)?;
                tx.modify(self.accounts[to], |balance| balance + sum)?;
            }
            "text" | "large" | "room" => {
                let words = match kind {
                    "text" => random.random_range(0..60),
                    "large" => random.random_range(0..6_000),
                    _ => 6_000,
                };
                let text = "text ".repeat(words);
                tx.write(self.texts[0], &text[..])?;
                tx.write(self.texts[1], &text[..])?;
            }
            "structure" => {
                let key = random.random_range(0..20);
                match self.map.remove(tx, &key)? {
                    Some(_) => tx.modify(self.entries, |entries| entries - 1)?,
                    None => self.insert(tx, key)?,
                }
                match self.queue.try_pop(tx)? {
                    Some(_) if random.random_bool(0.6) => {
                        tx.modify(self.items, |items| items - 1)?
                    }
                    Some(item) => self.queue.push(tx, item)?,
                    None => self.push(tx, key)?,
                }
            }
            "parts" => {
                // What failed parts have written over, written first, made and freed; then it goes on.
                let (from, to) = (self.accounts[0], self.accounts[1]);
                let sum = tx.read(from)?.min(1);
                tx.modify(from, |balance| balance - sum)?;
                let failed = tx.nested(|tx| {
                    tx.modify(from, |balance| balance + 100)?;
                    tx.create("undone")?;
                    self.queue.try_pop(tx)?;
                    Err::<(), _>(Abort::error(()))
                })?;
                tx.or_else(
                    |tx| {
                        tx.write(self.texts[0], "undone")?;
                        tx.check(failed.is_ok())
                    },
                    |tx| tx.modify(to, |balance| balance + sum),
                )?;
            }
            "insert" => {
                let key = random.random_range(0..20);
                self.insert(tx, key)?;
                self.push(tx, key)?;
            }
            _ => {
                if self.queue.try_pop(tx)?.is_some() {
                    tx.modify(self.items, |items| items - 1)?;
                }
                let key = random.random_range(0..20);
                if self.map.remove(tx, &key)?.is_some() {
                    tx.modify(self.entries, |entries| entries - 1)?;
                }
            }
        }
        tx.modify(self.count, |count| count + 1)
    }

    fn insert(&self, tx: &Transaction<'_>, key: u64) -> Result<(), Interrupt> {
        if self.map.insert(tx, key, [key; 40])?.is_none() {
            tx.modify(self.entries, |entries| entries + 1)?;
        }
        Ok(())
    }

    fn push(&self, tx: &Transaction<'_>, item: u64) -> Result<(), Interrupt> {
        self.queue.push(tx, item)?;
        tx.modify(self.items, |items| items + 1)
    }

    /// Writes every cell that there always is.
    pub(crate) fn touch(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        for cell in self.accounts.into_iter().chain([self.count, self.entries, self.items]) {
            tx.modify(cell, |value| value)?;
        }
        for text in self.texts {
            let value = tx.read(text)?;
            tx.write(text, value)?;
        }
        Ok(())
    }

    /// Makes the texts empty: what needs most room.
    pub(crate) fn shrink(&self, tx: &Transaction<'_>) -> Result<(), Interrupt> {
        self.texts.iter().try_for_each(|text| tx.write(*text, ""))
    }

    /// What is wrong, and how many cells there should be.
    pub(crate) fn audit(&self, tx: &Transaction<'_>) -> Result<(Option<String>, usize), Interrupt> {
        let mut total = 0;
        for account in self.accounts {
            total += tx.read(account)?;
        }
        let mut entries = 0;
        self.map.for_each(tx, |_, _| entries += 1)?;
        let mut items = 0;
        self.queue.for_each(tx, |_| items += 1)?;
        let texts = (tx.read(self.texts[0])?, tx.read(self.texts[1])?);
        let said = (tx.read(self.entries)?, tx.read(self.items)?);
        let wrong = if total != TOTAL {
            Some(format!("the accounts have {total}, and not {TOTAL}"))
        } else if texts.0 != texts.1 {
            Some(format!("the texts differ: {texts:?}"))
        } else if said != (entries, items) {
            Some(format!("{entries} entries and {items} items, and not {said:?}"))
        } else {
            None
        };
        // A node at the top, if there is more than one.
        let buckets = self.map.buckets(tx)?;
        let map = usize::from(buckets > 1) + buckets;
        // The directory, the accounts, 3 counts, 2 texts, the queue's ends.
        let cells = self.directory + ACCOUNTS + 3 + 2 + map + 2 + items as usize;
        Ok((wrong, cells))
    }
}

/// Stops until the watcher goes on.
fn stop() {
    raise(Signal::SIGSTOP).expect("a process can signal itself");
}

/// A process that is to be killed.
pub(crate) fn victim(path: &Path, kind: &str, seed: u64) -> ExitCode {
    match run_victim(path, kind, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("victim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_victim(path: &Path, kind: &str, seed: u64) -> Result<(), Failed> {
    let mut random = SmallRng::seed_from_u64(seed);
    match kind {
        "scale" => crate::scale::victim(path, seed)?,
        "recoverer" => {
            // Attaches, and so recovers the processes that have died before.
            nix::sys::ptrace::traceme()?;
            stop();
            let shared = Shared::open(path)?;
            stop();
            drop(shared);
        }
        "attacher" => {
            nix::sys::ptrace::traceme()?;
            stop();
            let shared = Shared::open(path)?;
            shared.atomically(|tx| tx.create(&7_u64).and_then(|cell| tx.free(cell)))?;
            stop();
        }
        "maker" => {
            nix::sys::ptrace::traceme()?;
            stop();
            let options = Options::new().threads(16).processes(16).first_bytes(0);
            drop(Shared::create(path, &options)?);
            stop();
        }
        "any" | "crowd" => {
            let (shared, crowded) = (Shared::open(path)?, kind == "crowd");
            let load = Load::new(&shared)?;
            loop {
                let kind = match random.random_range(0..KINDS.len() + 2) {
                    number if crowded && number % 2 == 0 => "large",
                    number => KINDS[number.min(KINDS.len() - 1)],
                };
                match shared.atomically(|tx| load.run(tx, kind, &mut random)) {
                    Err(TransactionError::NoBlock(_)) if crowded => continue,
                    other => other?,
                }
                if random.random_range(0..64) == 0 {
                    let wrong = shared.atomically(|tx| load.audit(tx))?.0;
                    if let Some(wrong) = wrong {
                        return Err(wrong.into());
                    }
                }
            }
        }
        "escalate" => {
            let shared = Shared::open(path)?;
            let load = Load::new(&shared)?;
            shared.atomically(|tx| load.run(tx, kind, &mut random))?;
            let mut attempts = 0;
            shared.atomically(|tx| {
                attempts += 1;
                load.run(tx, "transfer", &mut random)?;
                if attempts <= LOST {
                    // What it has read changes before it can commit.
                    std::thread::scope(|scope| {
                        let touch = || shared.atomically(|tx| load.touch(tx));
                        scope.spawn(touch).join().is_ok()
                    });
                }
                if attempts == LOST {
                    nix::sys::ptrace::traceme().expect("a process may be traced by its parent");
                    stop();
                }
                Ok(())
            })?;
            stop();
            let escalated = shared.inspect().statistics.escalated;
            assert!(escalated > 0, "it should have escalated");
        }
        LAG => {
            let shared = Shared::open(path)?;
            let load = Load::new(&shared)?;
            // Warm.
            shared.atomically(|tx| load.run(tx, "transfer", &mut random))?;
            for _ in 0..WRITTEN {
                shared.atomically(|tx| load.touch(tx))?;
            }
            nix::sys::ptrace::traceme()?;
            stop();
            shared.collect()?;
            stop();
        }
        kind => {
            let shared = Shared::open(path)?;
            let load = Load::new(&shared)?;
            // Warm, so that the steps are those of a transaction and not of what comes once.
            let warm = if kind == ROOM { "transfer" } else { kind };
            shared.atomically(|tx| load.run(tx, warm, &mut random))?;
            nix::sys::ptrace::traceme()?;
            stop();
            shared.atomically(|tx| load.run(tx, kind, &mut random))?;
            stop();
        }
    }
    Ok(())
}
