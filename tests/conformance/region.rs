//! A region that processes share: `contempo::shared`. (One process here; several: `tests/region`.)

use crate::bounds::{Bounded, Bounds};
use crate::operations::Operations;
use crate::scheduling::Scheduled;
use crate::scoped::{ScopedIn, Scopes};
use crate::support::HANG;
use crate::support::region::Place;
use crate::world::{Snapshot, Step, Stop, Transaction, World};
use contempo::shared::{self, Cell, Interrupt, Options, Shared, TransactionError, TryError};
use contempo::{Abort, ContentionReport, Exhausted, Settings, SettingsError, Statistics};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone)]
pub(crate) struct Region {
    shared: Shared,
    made: Arc<AtomicU64>,
    _place: Arc<Place>,
}

impl Region {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A name for a root.
    fn name(&self) -> String {
        self.made.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

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

impl World for Region {
    type Turn = ();
    type Cell = Cell<u64>;
    type Text = Cell<str>;
    type Transaction<'tx> = shared::Transaction<'tx>;
    type Snapshot<'s> = shared::Snapshot<'s>;
    type Interrupt = Interrupt;

    const WRITES_ARE_BLIND: bool = false;
    const FOREIGN_SIGNAL: &'static str = "Cancelled";
    const HOW_TO_NEST: &'static [&'static str] =
        &["inside a transaction of the same region", "on the same thread", "Pass the handle"];

    fn turn() {}

    fn new() -> Self {
        let place = Place::new();
        let shared = Shared::create(&place, &Options::new()).expect("a region can be made");
        Region { shared, made: Arc::default(), _place: Arc::new(place) }
    }

    fn cell(&self, value: u64) -> Cell<u64> {
        self.shared.root(&self.name(), value).expect("a root can be made")
    }

    fn text(&self, value: &str) -> Cell<str> {
        self.shared.root_of(&self.name(), value).expect("a root can be made")
    }

    fn atomically<R>(&self, mut body: impl FnMut(&shared::Transaction<'_>) -> Step<R, Self>) -> R {
        self.shared
            .atomically(move |tx| body(tx).map_err(|stop| stop.0))
            .expect("the region does what is asked")
    }

    fn try_atomically<R, E: Debug>(
        &self,
        body: impl FnMut(&shared::Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, E> {
        self.shared.try_atomically(body).map_err(|why| match why {
            TryError::User(error) => error,
            why => panic!("the region does what is asked: {why:?}"),
        })
    }

    fn snapshot<R>(&self, look: impl FnOnce(&shared::Snapshot<'_>) -> R) -> R {
        self.shared.snapshot(|view| Ok(look(view))).expect("the region does what is asked")
    }

    fn abort<E>(interrupt: Interrupt) -> Abort<E> {
        interrupt.into()
    }

    fn statistics(&self) -> Statistics {
        self.shared.statistics()
    }

    /// (A thread may still give back what it had when the scope that has waited for it is over.)
    fn nothing_is_left(&self) {
        let look = || {
            self.shared.collect().expect("the region does what is asked");
            let report = self.shared.verify();
            let left = (report.unreachable, report.retired, report.dead);
            (report.is_sound() && left == (0, 0, 0) && report.cells == report.versions, report)
        };
        let mut last = None;
        let begin = Instant::now();
        while begin.elapsed() < HANG {
            let (clean, report) = look();
            if clean {
                return;
            }
            last = Some(report);
            thread::sleep(Duration::from_millis(1));
        }
        panic!("something is left: {last:?}");
    }
}

impl Region {
    fn builder(&self, bounds: Bounds) -> shared::Builder<'_> {
        set(self.shared.builder(), bounds)
    }
}

fn set(mut builder: shared::Builder<'_>, bounds: Bounds) -> shared::Builder<'_> {
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

fn exhausted(why: TransactionError) -> Exhausted {
    match why {
        TransactionError::Exhausted(exhausted) => exhausted,
        why => panic!("the region does what is asked: {why:?}"),
    }
}

impl Bounded for Region {
    fn run<R>(
        &self,
        bounds: Bounds,
        mut body: impl FnMut(&shared::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted> {
        self.builder(bounds).run(move |tx| body(tx).map_err(|stop| stop.0)).map_err(exhausted)
    }

    fn try_run<R, E: Debug>(
        &self,
        bounds: Bounds,
        body: impl FnMut(&shared::Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, contempo::TryError<E>> {
        self.builder(bounds).try_run(body).map_err(|why| match why {
            TryError::User(error) => contempo::TryError::User(error),
            TryError::Transaction(why) => contempo::TryError::Exhausted(exhausted(why)),
            why => panic!("the region does what is asked: {why:?}"),
        })
    }

    fn retry_timeout(tx: &shared::Transaction<'_>, timeout: Duration) -> Step<(), Self> {
        tx.retry_timeout(timeout).map_err(Stop)
    }
}

const WORKS: &str = "the region does what is asked";

impl Operations for Region {
    fn modify_with<R>(
        tx: &shared::Transaction<'_>,
        cell: &Cell<u64>,
        change: impl FnOnce(u64) -> (u64, R),
    ) -> Step<R, Self> {
        tx.modify_with(*cell, change).map_err(Stop)
    }

    fn nested_timeout<'tx, R>(
        tx: &shared::Transaction<'tx>,
        timeout: Duration,
        part: impl FnOnce(&shared::Transaction<'tx>) -> Step<R, Self>,
    ) -> Step<Option<R>, Self> {
        tx.nested_timeout(timeout, |tx| part(tx).map_err(Side::<Stop<Self>, Self>::new))
            .map_err(|side| side.0)
    }

    fn wait_map<R>(&self, cell: &Cell<u64>, mut pick: impl FnMut(u64) -> Option<R>) -> R {
        self.shared.wait_map(*cell, &mut pick).expect(WORKS)
    }

    fn wait_until(&self, cell: &Cell<u64>, mut is_wanted: impl FnMut(u64) -> bool) -> u64 {
        self.shared.wait_until(*cell, &mut is_wanted).expect(WORKS)
    }

    fn wait_map_timeout<R>(
        &self,
        cell: &Cell<u64>,
        timeout: Duration,
        mut pick: impl FnMut(u64) -> Option<R>,
    ) -> Option<R> {
        self.shared.wait_map_timeout(*cell, timeout, &mut pick).expect(WORKS)
    }

    fn wait_until_timeout(
        &self,
        cell: &Cell<u64>,
        timeout: Duration,
        mut is_wanted: impl FnMut(u64) -> bool,
    ) -> Option<u64> {
        self.shared.wait_until_timeout(*cell, timeout, &mut is_wanted).expect(WORKS)
    }

    fn try_once<R>(
        &self,
        body: impl FnOnce(&shared::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted> {
        self.shared.try_once(|tx| body(tx).map_err(|stop| stop.0)).expect(WORKS)
    }

    fn within<R>(
        &self,
        [one, other]: [Bounds; 2],
        joined: bool,
        mut body: impl FnMut(&shared::Transaction<'_>) -> Step<R, Self>,
    ) -> Result<R, Exhausted> {
        let builder = if joined {
            self.builder(one).within(self.builder(other))
        } else {
            set(self.builder(one), other)
        };
        builder.run(move |tx| body(tx).map_err(|stop| stop.0)).map_err(exhausted)
    }
}

impl Scopes for Region {
    fn atomically_scoped<'env, R>(
        &self,
        mut body: impl FnMut(&ScopedIn<'_, 'env, Self>) -> Step<R, Self>,
    ) -> R {
        self.shared.atomically_scoped(move |tx| body(tx).map_err(|stop| stop.0)).expect(WORKS)
    }

    fn try_atomically_scoped<'env, R, E: Debug>(
        &self,
        body: impl FnMut(&ScopedIn<'_, 'env, Self, E>) -> Result<R, Abort<E>>,
    ) -> Result<R, E> {
        self.shared.try_atomically_scoped(body).map_err(|why| match why {
            TryError::User(error) => error,
            why => panic!("{WORKS}: {why:?}"),
        })
    }
}

impl Scheduled for Region {
    fn settings(&self) -> Settings {
        self.shared.settings()
    }

    fn configure(&self, settings: Settings) -> Result<(), SettingsError> {
        self.shared.configure(settings)
    }

    fn atomically_on<R>(
        &self,
        cells: &[Cell<u64>],
        mut body: impl FnMut(&shared::Transaction<'_>) -> Step<R, Self>,
    ) -> R {
        self.shared
            .atomically_on(cells, move |tx| body(tx).map_err(|stop| stop.0))
            .expect("the region does what is asked")
    }

    fn contention_report(&self, most: usize) -> ContentionReport {
        self.shared.contention_report(most)
    }

    fn reset_contention(&self) {
        self.shared.reset_contention();
    }

    fn named(&self, name: &str) -> Cell<u64> {
        self.shared.root(name, 0).expect("a root can be made")
    }
}

impl<'tx, W> Transaction<'tx, W> for shared::Transaction<'tx>
where
    W: World<Cell = Cell<u64>, Text = Cell<str>, Interrupt = Interrupt>,
{
    fn read(&self, cell: &Cell<u64>) -> Step<u64, W> {
        self.read(*cell).map_err(Stop)
    }

    fn write(&self, cell: &Cell<u64>, value: u64) -> Step<(), W> {
        self.write(*cell, &value).map_err(Stop)
    }

    fn modify(&self, cell: &Cell<u64>, change: impl FnOnce(u64) -> u64) -> Step<(), W> {
        self.modify(*cell, change).map_err(Stop)
    }

    fn read_text(&self, cell: &Cell<str>) -> Step<&'tx str, W> {
        self.read(*cell).map_err(Stop)
    }

    fn write_text(&self, cell: &Cell<str>, value: &str) -> Step<(), W> {
        self.write(*cell, value).map_err(Stop)
    }

    fn create(&self, value: u64) -> Step<Cell<u64>, W> {
        self.create(&value).map_err(Stop)
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

impl<'s, W> Snapshot<'s, W> for shared::Snapshot<'s>
where
    W: World<Cell = Cell<u64>, Text = Cell<str>, Interrupt = Interrupt>,
{
    fn read(&self, cell: &Cell<u64>) -> u64 {
        self.read(*cell).expect("the cell is there")
    }

    fn read_text(&self, cell: &Cell<str>) -> &'s str {
        self.read(*cell).expect("the cell is there")
    }
}

suite!(crate::region::Region);
mod closures {
    closure_suite!(crate::region::Region);
}
explicit_suite!(crate::region::Region);
bounded_suite!(crate::region::Region);
scheduled_suite!(crate::region::Region);
counted_suite!(crate::region::Region);
operations_suite!(crate::region::Region);
scoped_suite!(crate::region::Region);
