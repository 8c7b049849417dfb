//! The worlds in which a collection can be, as the tests see them.

use proptest::test_runner::Config;
use std::fmt::Debug;

/// One process, or a region.
pub(crate) trait World: Sync {
    type Tx<'tx>;
    type View<'v>;
    type Stop: Debug;

    fn new() -> Self;

    /// Runs a transaction, and undoes it in the end if it is to be cancelled.
    fn run<R>(
        &self,
        cancelled: bool,
        body: impl FnMut(&Self::Tx<'_>) -> Result<R, Self::Stop>,
    ) -> Option<R>;

    fn commit<R>(&self, body: impl FnMut(&Self::Tx<'_>) -> Result<R, Self::Stop>) -> R {
        self.run(false, body).expect("it was not cancelled")
    }

    fn snapshot<R>(&self, look: impl FnMut(&Self::View<'_>) -> Result<R, Self::Stop>) -> R;

    /// Nothing is lost, and nothing is left but so many cells and the directory of roots (where cells are counted).
    fn sound(&self, cells: Option<usize>);
}

/// Where something is read.
pub(crate) enum At<'x, 'a, W: World> {
    Tx(&'x W::Tx<'a>),
    View(&'x W::View<'a>),
}

/// An operation of one process gives a `Result` in transactions, and the plain value in snapshots.
macro_rules! local {
    ($at:expr, |$here:ident| $read:expr) => {
        match $at {
            $crate::world::At::Tx($here) => $read?,
            $crate::world::At::View($here) => $read,
        }
    };
}

/// One of a region gives a `Result` in both.
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
macro_rules! region {
    ($at:expr, |$here:ident| $read:expr) => {
        match $at {
            $crate::world::At::Tx($here) => $read?,
            $crate::world::At::View($here) => $read?,
        }
    };
}

/// Makes two tests of each function that is generic over the world.
macro_rules! in_both_worlds {
    ($($name:ident),* $(,)?) => {
        mod one_process {
            $(#[test]
            fn $name() {
                super::$name::<$crate::world::Local>();
            })*
        }

        #[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
        mod regions {
            $(#[test]
            fn $name() {
                super::$name::<$crate::world::Region>();
            })*
        }
    };
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) use region;
pub(crate) use {in_both_worlds, local};

/// How many random programs are tried: as many as `PROPTEST_CASES` says, or few.
pub(crate) fn config() -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { Config::default() } else { Config::with_cases(24) }
}

/// Random numbers that need no crate.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Runs transactions, and undoes those that are to be cancelled: the collection does what the model does.
pub(crate) fn compare<
    Step: std::fmt::Debug,
    Model: Clone + Default + PartialEq + std::fmt::Debug,
>(
    bodies: &[(Vec<Step>, bool)],
    step: impl Fn(&contempo::Transaction<'_>, &mut Model, &Step) -> contempo::StmResult<()>,
    contents: impl Fn() -> Model,
) {
    let mut model = Model::default();
    for (steps, cancelled) in bodies {
        let mut tried = Model::default();
        let result = contempo::try_atomically(|tx| {
            tried.clone_from(&model);
            steps.iter().try_for_each(|one| step(tx, &mut tried, one))?;
            if *cancelled { Err(contempo::Abort::error(())) } else { Ok(()) }
        });
        assert_eq!(result.is_err(), *cancelled);
        if result.is_ok() {
            model = tried;
        }
        assert_eq!(contents(), model);
    }
}

pub(crate) fn bodies<S: std::fmt::Debug>(
    step: impl proptest::strategy::Strategy<Value = S>,
) -> impl proptest::strategy::Strategy<Value = Vec<(Vec<S>, bool)>> {
    let steps = proptest::collection::vec(step, 1..60);
    proptest::collection::vec((steps, proptest::bool::weighted(0.2)), 1..10)
}

/// Runs `mine`; in the middle of its first attempt another thread runs `theirs`. How many attempts did it take?
pub(crate) fn attempts<W: World>(
    world: &W,
    mine: impl Fn(&W::Tx<'_>) -> Result<(), W::Stop>,
    theirs: impl Fn() + Sync,
) -> u32 {
    let mut attempts = 0;
    world.commit(|tx| {
        attempts += 1;
        mine(tx)?;
        if attempts == 1 {
            crate::support::elsewhere(&theirs);
        }
        Ok(())
    });
    attempts
}

/// One process.
pub(crate) struct Local;

impl World for Local {
    type Tx<'tx> = contempo::Transaction<'tx>;
    type View<'v> = contempo::Snapshot<'v>;
    type Stop = contempo::Interrupt;

    fn new() -> Self {
        Local
    }

    fn run<R>(
        &self,
        cancelled: bool,
        mut body: impl FnMut(&Self::Tx<'_>) -> Result<R, Self::Stop>,
    ) -> Option<R> {
        let result = contempo::try_atomically(|tx| {
            let result = body(tx)?;
            if cancelled { Err(contempo::Abort::error(())) } else { Ok(result) }
        });
        result.ok()
    }

    fn snapshot<R>(&self, mut look: impl FnMut(&Self::View<'_>) -> Result<R, Self::Stop>) -> R {
        contempo::snapshot(|view| look(view)).expect("a snapshot reads without errors")
    }

    fn sound(&self, _: Option<usize>) {}
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) use in_a_region::Region;

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::World;
    use crate::support::region::Place;
    use contempo::shared::{Interrupt, Options, Shared, Snapshot, Transaction, TransactionError};

    /// A region of its own.
    pub(crate) struct Region {
        pub(crate) shared: Shared,
        pub(crate) place: Place,
    }

    impl World for Region {
        type Tx<'tx> = Transaction<'tx>;
        type View<'v> = Snapshot<'v>;
        type Stop = Interrupt;

        fn new() -> Self {
            let place = Place::new();
            Region { shared: Shared::create(&place, &Options::new()).unwrap(), place }
        }

        fn run<R>(
            &self,
            cancelled: bool,
            mut body: impl FnMut(&Self::Tx<'_>) -> Result<R, Self::Stop>,
        ) -> Option<R> {
            let result = self.shared.atomically(|tx| {
                let result = body(tx)?;
                if cancelled { tx.cancel() } else { Ok(result) }
            });
            match result {
                Err(TransactionError::Cancelled) if cancelled => None,
                result => Some(result.unwrap()),
            }
        }

        fn snapshot<R>(&self, look: impl FnMut(&Self::View<'_>) -> Result<R, Self::Stop>) -> R {
            self.shared.snapshot(look).unwrap()
        }

        fn sound(&self, cells: Option<usize>) {
            crate::support::collections::sound(&self.shared);
            if let Some(cells) = cells {
                assert_eq!(self.shared.verify().cells, 1 + cells);
            }
        }
    }
}
