//! The same worlds, whose closures are called by a driver of explicit attempts: what a foreign language would do.
//! Everything that closures are promised holds for those, too.

use crate::bounds::{Bounded, Bounds};
use crate::steps::{Explicit, Next};
use crate::world::{Step, Stop, Transaction, World};
use contempo::explicit::{Ended, Limits};
use contempo::{Abort, Exhausted, Statistics, TryError};
use std::fmt::Debug;
use std::time::Duration;

/// What the driver was told.
enum Driven<E> {
    User(E),
    Exhausted(Exhausted),
}

/// Attempt after attempt, until one commits.
fn drive<W, S, R, E>(
    world: &W,
    bounds: Bounds,
    mut body: impl FnMut(&W::Transaction<'_>) -> Result<Result<R, E>, Stop<S>>,
) -> Result<R, Driven<E>>
where
    W: Explicit,
    S: World,
{
    let Bounds { max_attempts, timeout, deadline } = bounds;
    let limits = Limits { max_attempts, timeout, deadline };
    let mut attempt = world.begin(limits).unwrap_or_else(|why| panic!("{why}"));
    loop {
        let result = body(&W::transaction(&attempt));
        let next = match result {
            Ok(Ok(value)) => match W::commit(attempt) {
                Ok(_) => return Ok(value),
                Err(next) => next,
            },
            Ok(Err(error)) => {
                W::roll_back(attempt);
                return Err(Driven::User(error));
            }
            Err(_) => W::commit(attempt).expect_err("it was interrupted"),
        };
        attempt = match next.again() {
            Ok(attempt) => attempt,
            Err(Ended::Exhausted(exhausted)) => return Err(Driven::Exhausted(exhausted)),
            Err(why) => panic!("{why:?}"),
        };
    }
}

fn no_bounds<R, E>(driven: Result<R, Driven<E>>) -> Result<R, E> {
    driven.map_err(|why| match why {
        Driven::User(error) => error,
        Driven::Exhausted(why) => panic!("no bounds were set: {why}"),
    })
}

macro_rules! stepwise {
    ($name:ident, $world:path) => {
        #[derive(Clone)]
        pub(crate) struct $name($world);

        impl World for $name {
            type Turn = <$world as World>::Turn;
            type Cell = <$world as World>::Cell;
            type Text = <$world as World>::Text;
            type Transaction<'tx> = <$world as World>::Transaction<'tx>;
            type Snapshot<'s> = <$world as World>::Snapshot<'s>;
            type Interrupt = <$world as World>::Interrupt;

            const WRITES_ARE_BLIND: bool = <$world>::WRITES_ARE_BLIND;
            const FOREIGN_SIGNAL: &'static str = <$world>::FOREIGN_SIGNAL;
            const HOW_TO_NEST: &'static [&'static str] = <$world>::HOW_TO_NEST;

            fn turn() -> Self::Turn {
                <$world>::turn()
            }

            fn new() -> Self {
                $name(<$world>::new())
            }

            fn cell(&self, value: u64) -> Self::Cell {
                self.0.cell(value)
            }

            fn text(&self, value: &str) -> Self::Text {
                self.0.text(value)
            }

            fn atomically<R>(
                &self,
                mut body: impl FnMut(&Self::Transaction<'_>) -> Step<R, Self>,
            ) -> R {
                let run =
                    |tx: &Self::Transaction<'_>| body(tx).map(Ok::<R, std::convert::Infallible>);
                let Ok(value) = no_bounds(drive(&self.0, Bounds::default(), run));
                value
            }

            fn try_atomically<R, E: Debug>(
                &self,
                mut body: impl FnMut(&Self::Transaction<'_>) -> Result<R, Abort<E>>,
            ) -> Result<R, E> {
                let run = |tx: &Self::Transaction<'_>| -> Step<Result<R, E>, Self> {
                    Transaction::nested(tx, |tx| body(tx))
                };
                no_bounds(drive(&self.0, Bounds::default(), run))
            }

            fn snapshot<R>(&self, look: impl FnOnce(&Self::Snapshot<'_>) -> R) -> R {
                self.0.snapshot(look)
            }

            fn abort<E>(interrupt: Self::Interrupt) -> Abort<E> {
                <$world>::abort(interrupt)
            }

            fn statistics(&self) -> Statistics {
                self.0.statistics()
            }

            fn nothing_is_left(&self) {
                self.0.nothing_is_left();
            }
        }

        impl Bounded for $name {
            fn run<R>(
                &self,
                bounds: Bounds,
                mut body: impl FnMut(&Self::Transaction<'_>) -> Step<R, Self>,
            ) -> Result<R, Exhausted> {
                let run =
                    |tx: &Self::Transaction<'_>| body(tx).map(Ok::<R, std::convert::Infallible>);
                drive(&self.0, bounds, run).map_err(|why| match why {
                    Driven::Exhausted(exhausted) => exhausted,
                    Driven::User(never) => match never {},
                })
            }

            fn try_run<R, E: Debug>(
                &self,
                bounds: Bounds,
                mut body: impl FnMut(&Self::Transaction<'_>) -> Result<R, Abort<E>>,
            ) -> Result<R, TryError<E>> {
                let run = |tx: &Self::Transaction<'_>| -> Step<Result<R, E>, Self> {
                    Transaction::nested(tx, |tx| body(tx))
                };
                drive(&self.0, bounds, run).map_err(|why| match why {
                    Driven::Exhausted(exhausted) => TryError::Exhausted(exhausted),
                    Driven::User(error) => TryError::User(error),
                })
            }

            fn retry_timeout(tx: &Self::Transaction<'_>, timeout: Duration) -> Step<(), Self> {
                tx.retry_timeout(timeout).map_err(Stop)
            }
        }
    };
}

stepwise!(Local, crate::local::Local);
mod local {
    suite!(crate::stepwise::Local);
    bounded_suite!(crate::stepwise::Local);
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
stepwise!(Region, crate::region::Region);
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region {
    suite!(crate::stepwise::Region);
    bounded_suite!(crate::stepwise::Region);
}
