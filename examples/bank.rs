//! A bank: transfers between accounts, auditors that never see a wrong total, `retry` for a customer that must
//! wait for money, `or_else` for one that has two accounts.
//!
//! ```text
//! cargo run --release --example bank
//! ```

use contempo::{StmResult, TVar, Transaction, atomically, snapshot};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ACCOUNTS: usize = 100;
const START: u64 = 1000;
const TRANSFERS: u64 = 3_000_000;
const RENTS: u64 = 100_000;

type Account = TVar<u64>;

/// Takes `amount`, and sleeps until it is there if it is not.
fn withdraw(tx: &Transaction<'_>, account: &Account, amount: u64) -> StmResult<()> {
    let balance = *tx.read(account)?;
    tx.check(balance >= amount)?;
    tx.write(account, balance - amount)
}

fn deposit(tx: &Transaction<'_>, account: &Account, amount: u64) -> StmResult<()> {
    tx.modify(account, |balance| balance + amount)
}

/// Pays from the first account, or else from the second: whichever has the money first.
fn pay(tx: &Transaction<'_>, from: [&Account; 2], to: &Account, amount: u64) -> StmResult<usize> {
    let used = tx.or_else(
        |tx| withdraw(tx, from[0], amount).map(|()| 0),
        |tx| withdraw(tx, from[1], amount).map(|()| 1),
    )?;
    deposit(tx, to, amount)?;
    Ok(used)
}

/// Transfers between accounts at random; returns how many had to be turned down.
fn clerk(accounts: &[Account], seed: u64) -> u64 {
    let (mut state, mut declined) = (seed, 0);
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..TRANSFERS / 2 {
        let [from, to] = [(); 2].map(|()| &accounts[random(ACCOUNTS as u64) as usize]);
        let amount = random(START / 2) + 1;
        declined += u64::from(!atomically(|tx| {
            if *tx.read(from)? < amount {
                return Ok(false);
            }
            withdraw(tx, from, amount)?;
            deposit(tx, to, amount)?;
            Ok(true)
        }));
    }
    declined
}

fn main() -> ExitCode {
    let accounts: Vec<Account> = (0..ACCOUNTS).map(|_| TVar::new(START)).collect();
    // A tenant with two accounts, which the employer fills one coin at a time.
    let (savings, cash, landlord) = (TVar::new(0), TVar::new(0), TVar::new(0));
    let employer = TVar::new(RENTS * 10);
    let total = ACCOUNTS as u64 * START + RENTS * 10;

    let (done, audits, wrong) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let begin = Instant::now();
    let (declined, from) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let sum: u64 = snapshot(|view| {
                    let tenancy = [&savings, &cash, &landlord, &employer];
                    accounts.iter().chain(tenancy).map(|account| view.read(account)).sum()
                });
                audits.fetch_add(1, Ordering::Relaxed);
                wrong.fetch_add(u64::from(sum != total), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        let clerks = [1, 2].map(|seed| {
            let accounts = &accounts;
            scope.spawn(move || clerk(accounts, seed))
        });
        let tenant = scope.spawn(|| {
            let mut from = [0_u64; 2];
            for _ in 0..RENTS {
                from[atomically(|tx| pay(tx, [&cash, &savings], &landlord, 10))] += 1;
            }
            from
        });
        for rent in 0..RENTS {
            let to = if rent % 3 == 0 { &savings } else { &cash };
            atomically(|tx| {
                withdraw(tx, &employer, 10)?;
                deposit(tx, to, 10)
            });
        }
        let result = (clerks.map(|clerk| clerk.join().unwrap()), tenant.join().unwrap());
        done.store(true, Ordering::Relaxed);
        result
    });
    let (audits, wrong) = (audits.into_inner(), wrong.into_inner());
    println!("{TRANSFERS} transfers in {:.1?}, {declined:?} declined", begin.elapsed());
    println!("{RENTS} rents: {} from cash, {} from savings", from[0], from[1]);
    println!("{audits} audits, {wrong} wrong; the landlord has {}", landlord.load());
    let right = wrong == 0 && landlord.load() == RENTS * 10;
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
