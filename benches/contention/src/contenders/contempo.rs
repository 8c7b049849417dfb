//! contempo, with the variants that a process can choose among.

use super::attempts;
use super::transactional::{Access, Stm, Value};
use ::contempo::policy::{Next, Rules, Verdict};
use ::contempo::{
    Interrupt, Policy, Settings, Snapshot, StmResult, TVar, Transaction, atomically, configure,
    snapshot,
};

/// Chooses how conflicts are settled in the trials that follow.
fn select(policy: Policy) {
    let mut settings = Settings::default();
    settings.policy = policy;
    configure(settings).expect("the defaults are in range");
}

/// The policy that users get.
pub(crate) fn turns() {
    select(Policy::Turns);
}

/// Back-off at random.
pub(crate) fn timid() {
    select(Policy::Timid);
}

/// The older wins.
pub(crate) fn greedy() {
    select(Policy::Greedy);
}

/// The transaction that has lost more work wins.
pub(crate) fn karma() {
    select(Policy::Karma);
}

/// Rules of a program's own, as in `examples/policy.rs`: Polite of Scherer and Scott.
pub(crate) fn polite() {
    static POLITE: Rules = Rules::new(
        "polite",
        |bid| if bid.spins < 16 << bid.failures.min(8) { Verdict::Spin } else { Verdict::TakeOver },
        |bid| Next::Again(16 << bid.failures.min(8)),
    );
    select(Policy::Own(&POLITE));
}

/// Which way of reclaiming memory this build of contempo has: a matter of cargo features, so that a
/// run has one of them.
pub(crate) const RECLAIMER: &str =
    if cfg!(feature = "reclaim-epoch") { "crossbeam-epoch" } else { "contemporaries" };

/// Which clock this build of contempo has.
pub(crate) const CLOCK: &str =
    if cfg!(feature = "clock-tsc") { "time-stamp counter" } else { "phases" };

/// The memory of the crate `contempo`. What only reads is a snapshot.
pub(crate) struct Contempo;

impl Access<Contempo> for Transaction<'_> {
    #[inline(always)]
    fn read<'a, T: Value>(&'a self, variable: &TVar<T>) -> StmResult<&'a T> {
        Transaction::read(self, variable)
    }
}

impl Access<Contempo> for Snapshot<'_> {
    #[inline(always)]
    fn read<'a, T: Value>(&'a self, variable: &TVar<T>) -> StmResult<&'a T> {
        Ok(Snapshot::read(self, variable))
    }
}

impl Stm for Contempo {
    type Var<T: Value> = TVar<T>;
    type Ref<'a, T: Value> = &'a T;
    type Stop = Interrupt;
    type Tx<'t> = Transaction<'t>;
    type View<'t> = Snapshot<'t>;

    fn var<T: Value>(value: T) -> TVar<T> {
        TVar::new(value)
    }

    #[inline(always)]
    fn atomically<R>(body: impl Fn(&Transaction<'_>) -> StmResult<R>) -> R {
        atomically(|tx: &Transaction<'_>| {
            attempts::count();
            body(tx)
        })
    }

    #[inline(always)]
    fn look<R>(body: impl Fn(&Snapshot<'_>) -> StmResult<R>) -> R {
        snapshot(|view| {
            attempts::count();
            match body(view) {
                Ok(result) => result,
                Err(_) => unreachable!("a snapshot's reads do not fail"),
            }
        })
    }

    #[inline(always)]
    fn write<T: Value>(tx: &Transaction<'_>, variable: &TVar<T>, value: T) -> StmResult<()> {
        tx.write(variable, value)
    }

    fn retry<R>(tx: &Transaction<'_>) -> StmResult<R> {
        tx.retry()
    }
}
