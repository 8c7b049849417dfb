//! What a test can do with attempts that are driven step by step, in each world.

use crate::world::World;
use contempo::explicit::{BeginError, Committed, Ended, Limits, Savepoint, SavepointError, Why};
use std::fmt::{Debug, Display};
use std::time::Instant;

/// A world in which attempts can be driven.
pub(crate) trait Explicit: World {
    type Attempt: Debug;
    type Again: Next<Attempt = Self::Attempt>;
    type Detached: Debug + Send + 'static;
    type Refused: Debug + Display;

    fn detach(again: Self::Again) -> Self::Detached;
    /// Is another attempt of this thread in the way?
    fn refuses_to_detach(again: Self::Again) -> bool;
    /// Begins the next attempt on this thread. There is a point in it.
    fn resume(&self, detached: Self::Detached) -> Self::Attempt;
    fn begin(&self, limits: Limits) -> Result<Self::Attempt, BeginError<Self::Refused>>;
    fn transaction(attempt: &Self::Attempt) -> Self::Transaction<'_>;
    fn is_open(attempt: &Self::Attempt) -> bool;
    fn number(attempt: &Self::Attempt) -> u32;
    fn mark(attempt: &mut Self::Attempt) -> Savepoint;
    fn roll_back_to(attempt: &mut Self::Attempt, to: Savepoint) -> Result<(), SavepointError>;
    fn keep(attempt: &mut Self::Attempt, since: Savepoint) -> Result<(), SavepointError>;
    fn commit(attempt: Self::Attempt) -> Result<Committed, Self::Again>;
    fn roll_back(attempt: Self::Attempt);
}

/// A transaction between two attempts.
pub(crate) trait Next: Debug + Sized {
    type Attempt;
    type End: Debug;
    fn why(&self) -> Why;
    fn attempts(&self) -> u32;
    fn again(self) -> Result<Self::Attempt, Ended<Self::End>>;
    fn again_by(self, wake: Instant) -> Result<Self::Attempt, Ended<Self::End>>;
}

macro_rules! explicit {
    ($world:path, $attempt:path, $again:path, $detached:path, $end:path, $refused:path;
     $begin:expr, $resume:expr, $transaction:expr) => {
        impl Explicit for $world {
            type Attempt = $attempt;
            type Again = $again;
            type Detached = $detached;
            type Refused = $refused;

            fn detach(again: $again) -> $detached {
                again.detach().unwrap_or_else(|why| panic!("{why:?}"))
            }
            fn refuses_to_detach(again: $again) -> bool {
                matches!(again.detach(), Err(Ended::Nested))
            }
            fn resume(&self, detached: $detached) -> $attempt {
                $resume(self, detached)
            }
            fn begin(&self, limits: Limits) -> Result<$attempt, BeginError<$refused>> {
                $begin(self, limits)
            }
            fn transaction(attempt: &$attempt) -> Self::Transaction<'_> {
                $transaction(attempt)
            }
            fn is_open(attempt: &$attempt) -> bool {
                attempt.is_open()
            }
            fn number(attempt: &$attempt) -> u32 {
                attempt.number()
            }
            fn mark(attempt: &mut $attempt) -> Savepoint {
                attempt.mark()
            }
            fn roll_back_to(attempt: &mut $attempt, to: Savepoint) -> Result<(), SavepointError> {
                attempt.roll_back_to(to)
            }
            fn keep(attempt: &mut $attempt, since: Savepoint) -> Result<(), SavepointError> {
                attempt.keep(since)
            }
            fn commit(attempt: $attempt) -> Result<Committed, $again> {
                attempt.commit()
            }
            fn roll_back(attempt: $attempt) {
                attempt.roll_back();
            }
        }

        impl Next for $again {
            type Attempt = $attempt;
            type End = $end;
            fn why(&self) -> Why {
                self.why()
            }
            fn attempts(&self) -> u32 {
                self.attempts()
            }
            fn again(self) -> Result<$attempt, Ended<$end>> {
                self.again()
            }
            fn again_by(self, wake: Instant) -> Result<$attempt, Ended<$end>> {
                self.again_by(wake)
            }
        }
    };
}

explicit!(
    crate::local::Local,
    contempo::explicit::Attempt,
    contempo::explicit::Again,
    contempo::explicit::Detached,
    std::convert::Infallible,
    std::convert::Infallible;
    |_: &Self, limits| contempo::explicit::begin(limits),
    |_: &Self, detached: contempo::explicit::Detached| detached.resume().expect("it is outside"),
    contempo::explicit::Attempt::transaction
);

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
explicit!(
    crate::region::Region,
    contempo::explicit::SharedAttempt,
    contempo::explicit::SharedAgain,
    contempo::explicit::SharedDetached,
    contempo::explicit::Stopped,
    contempo::shared::TransactionError;
    |world: &Self, limits| world.shared().begin(limits),
    |world: &Self, detached| world.shared().resume(detached).expect("it is outside"),
    contempo::explicit::transaction
);
