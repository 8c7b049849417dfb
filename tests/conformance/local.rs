//! One process: `contempo::{TVar, atomically, …}`.

use crate::bounds::{Bounded, Bounds};
use crate::operations::Operations;
use crate::scheduling::Scheduled;
use crate::scoped::{ScopedIn, Scopes};
use crate::support::alone;
use crate::world::{Snapshot, Step, Stop, Transaction, World};
use contempo::{
    Abort, Builder, ContentionReport, Exhausted, Interrupt, Settings, SettingsError, Statistics,
    TVar, TryError,
};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct Local;

/// What a side returns: contempo makes one of its own signal.
struct Side<X, W>(X, PhantomData<W>);

impl<X, W> Side<X, W> {
    fn new(side: X) -> Self {
        Side(side, PhantomData)
    }
}

impl<X: From<Stop<W>>, W: World<Interrupt = Interrupt>> From<Interrupt> for Side<X, W> {
    fn from(interrupt: Interrupt) -> Self {
        Side::new(Stop(interrupt).into())
    }
}

impl World for Local {
    type Turn = MutexGuard<'static, ()>;
    type Cell = TVar<u64>;
    type Text = TVar<String>;
    type Transaction<'tx> = contempo::Transaction<'tx>;
    type Snapshot<'s> = contempo::Snapshot<'s>;
    type Interrupt = Interrupt;

    const WRITES_ARE_BLIND: bool = true;
    const FOREIGN_SIGNAL: &'static str = "kept from another attempt";
    const HOW_TO_NEST: &'static [&'static str] =
        &["inside a transaction of the same thread", "f(tx)?", "tx.nested", "on_commit"];

    fn turn() -> Self::Turn {
        alone()
    }

    fn new() -> Self {
        Local
    }

    fn cell(&self, value: u64) -> TVar<u64> {
        TVar::new(value)
    }

    fn text(&self, value: &str) -> TVar<String> {
        TVar::new(value.to_owned())
    }

    fn atomically<R>(
        &self,
        mut body: impl FnMut(&contempo::Transaction<'_>) -> Step<R, Self>,
    ) -> R {
        contempo::atomically(move |tx| body(tx).map_err(|stop| stop.0))
    }

    fn try_atomically<R, E: Debug>(
        &self,
        body: impl FnMut(&contempo::Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, E> {
        contempo::try_atomically(body)
    }

    fn snapshot<R>(&self, look: impl FnOnce(&contempo::Snapshot<'_>) -> R) -> R {
        contempo::snapshot(look)
    }

    fn abort<E>(interrupt: Interrupt) -> Abort<E> {
        interrupt.into()
    }

    fn statistics(&self) -> Statistics {
        contempo::statistics()
    }

    /// (What versions and values become: `tests/local/garbage.rs`, `tests/local/drops.rs`.)
    fn nothing_is_left(&self) {}

    fn get(&self, cell: &TVar<u64>) -> u64 {
        cell.load()
    }

    fn set(&self, cell: &TVar<u64>, value: u64) {
        cell.store(value);
    }
}

fn builder(bounds: Bounds) -> Builder<'static> {
    set(contempo::Transaction::builder(), bounds)
}

fn set(mut builder: Builder<'static>, bounds: Bounds) -> Builder<'static> {
    if let Some(most) = bounds.max_attempts {
        builder = builder.max_attempts(most);
    }
    if let Some(timeout) = bounds.timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(deadline) = bounds.deadline {
        builder = builder.deadline(deadline);
    }
    builder
}

impl Bounded for Local {
    fn run<R>(
        &self,
        bounds: Bounds,
        mut body: impl FnMut(&contempo::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted> {
        builder(bounds).run(move |tx| body(tx).map_err(|stop| stop.0))
    }

    fn try_run<R, E: Debug>(
        &self,
        bounds: Bounds,
        body: impl FnMut(&contempo::Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>> {
        builder(bounds).try_run(body)
    }

    fn retry_timeout(tx: &contempo::Transaction<'_>, timeout: Duration) -> Step<(), Self> {
        tx.retry_timeout(timeout).map_err(Stop)
    }
}

impl Operations for Local {
    fn modify_with<R>(
        tx: &contempo::Transaction<'_>,
        cell: &TVar<u64>,
        change: impl FnOnce(u64) -> (u64, R),
    ) -> Step<R, Self> {
        tx.modify_with(cell, |n| change(*n)).map_err(Stop)
    }

    fn nested_timeout<'tx, R>(
        tx: &contempo::Transaction<'tx>,
        timeout: Duration,
        part: impl FnOnce(&contempo::Transaction<'tx>) -> Step<R, Self>,
    ) -> Step<Option<R>, Self> {
        tx.nested_timeout(timeout, |tx| part(tx).map_err(Side::<Stop<Self>, Self>::new))
            .map_err(|side| side.0)
    }

    fn wait_map<R>(&self, cell: &TVar<u64>, mut pick: impl FnMut(u64) -> Option<R>) -> R {
        cell.wait_map(|n| pick(*n))
    }

    fn wait_until(&self, cell: &TVar<u64>, mut is_wanted: impl FnMut(u64) -> bool) -> u64 {
        cell.wait_until(|n| is_wanted(*n))
    }

    fn wait_map_timeout<R>(
        &self,
        cell: &TVar<u64>,
        timeout: Duration,
        mut pick: impl FnMut(u64) -> Option<R>,
    ) -> Option<R> {
        cell.wait_map_timeout(timeout, |n| pick(*n))
    }

    fn wait_until_timeout(
        &self,
        cell: &TVar<u64>,
        timeout: Duration,
        mut is_wanted: impl FnMut(u64) -> bool,
    ) -> Option<u64> {
        cell.wait_until_timeout(timeout, |n| is_wanted(*n))
    }

    fn try_once<R>(
        &self,
        body: impl FnOnce(&contempo::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted> {
        contempo::try_once(|tx| body(tx).map_err(|stop| stop.0))
    }

    fn within<R>(
        &self,
        [one, other]: [Bounds; 2],
        joined: bool,
        mut body: impl FnMut(&contempo::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted> {
        let builder =
            if joined { builder(one).within(builder(other)) } else { set(builder(one), other) };
        builder.run(move |tx| body(tx).map_err(|stop| stop.0))
    }
}

impl Scopes for Local {
    fn atomically_scoped<'env, R>(
        &self,
        mut body: impl FnMut(&ScopedIn<'_, 'env, Self>) -> Step<R, Self>,
    ) -> R {
        contempo::atomically_scoped(move |tx| body(tx).map_err(|stop| stop.0))
    }

    fn try_atomically_scoped<'env, R, E: Debug>(
        &self,
        body: impl FnMut(&ScopedIn<'_, 'env, Self, E>) -> Result<R, Abort<E>>,
    ) -> Result<R, E> {
        contempo::try_atomically_scoped(body)
    }
}

impl Scheduled for Local {
    fn settings(&self) -> Settings {
        contempo::settings()
    }

    fn configure(&self, settings: Settings) -> Result<(), SettingsError> {
        contempo::configure(settings)
    }

    fn atomically_on<R>(
        &self,
        cells: &[TVar<u64>],
        mut body: impl FnMut(&contempo::Transaction<'_>) -> Step<R, Self>,
    ) -> R {
        contempo::atomically_on(cells, move |tx| body(tx).map_err(|stop| stop.0))
    }

    fn contention_report(&self, most: usize) -> ContentionReport {
        contempo::contention_report(most)
    }

    fn reset_contention(&self) {
        contempo::reset_contention();
    }

    fn named(&self, name: &str) -> TVar<u64> {
        TVar::named(name, 0)
    }
}

impl<'tx, W> Transaction<'tx, W> for contempo::Transaction<'tx>
where
    W: World<Cell = TVar<u64>, Text = TVar<String>, Interrupt = Interrupt>,
{
    fn read(&self, cell: &TVar<u64>) -> Step<u64, W> {
        self.read(cell).copied().map_err(Stop)
    }

    fn write(&self, cell: &TVar<u64>, value: u64) -> Step<(), W> {
        self.write(cell, value).map_err(Stop)
    }

    fn modify(&self, cell: &TVar<u64>, change: impl FnOnce(u64) -> u64) -> Step<(), W> {
        self.modify(cell, |value| change(*value)).map_err(Stop)
    }

    fn read_text(&self, cell: &TVar<String>) -> Step<&'tx str, W> {
        self.read(cell).map(String::as_str).map_err(Stop)
    }

    fn write_text(&self, cell: &TVar<String>, value: &str) -> Step<(), W> {
        self.write(cell, value.to_owned()).map_err(Stop)
    }

    fn create(&self, value: u64) -> Step<TVar<u64>, W> {
        Ok(TVar::new(value))
    }

    fn retry<R>(&self) -> Step<R, W> {
        self.retry().map_err(Stop)
    }

    fn check(&self, condition: bool) -> Step<(), W> {
        self.check(condition).map_err(Stop)
    }

    fn nested<R, E>(
        &self,
        part: impl FnOnce(&Self) -> Result<R, Abort<E>>,
    ) -> Step<Result<R, E>, W> {
        self.nested(part).map_err(Stop)
    }

    fn or_else<R, X: From<Stop<W>>>(
        &self,
        first: impl FnOnce(&Self) -> Result<R, X>,
        second: impl FnOnce(&Self) -> Result<R, X>,
    ) -> Result<R, X> {
        self.or_else(
            |tx| first(tx).map_err(Side::<X, W>::new),
            |tx| second(tx).map_err(Side::<X, W>::new),
        )
        .map_err(|side| side.0)
    }

    fn first_of<R, X: From<Stop<W>>, F: FnOnce(&Self) -> Result<R, X>>(
        &self,
        sides: impl IntoIterator<Item = F>,
    ) -> Result<R, X> {
        let sides =
            sides.into_iter().map(|side| move |tx: &Self| side(tx).map_err(Side::<X, W>::new));
        self.first_of(sides).map_err(|side| side.0)
    }

    fn on_commit(&self, hook: impl FnOnce() + 'static) {
        self.on_commit(hook);
    }

    fn on_rollback(&self, hook: impl FnOnce() + 'static) {
        self.on_rollback(hook);
    }
}

impl<'s, W> Snapshot<'s, W> for contempo::Snapshot<'s>
where
    W: World<Cell = TVar<u64>, Text = TVar<String>, Interrupt = Interrupt>,
{
    fn read(&self, cell: &TVar<u64>) -> u64 {
        *self.read(cell)
    }

    fn read_text(&self, cell: &TVar<String>) -> &'s str {
        self.read(cell).as_str()
    }
}

suite!(crate::local::Local);
mod closures {
    closure_suite!(crate::local::Local);
}
explicit_suite!(crate::local::Local);
bounded_suite!(crate::local::Local);
scheduled_suite!(crate::local::Local);
counted_suite!(crate::local::Local);
operations_suite!(crate::local::Local);
scoped_suite!(crate::local::Local);
