//! What a running transaction of any world lets code do that knows no world.

use crate::session::common::Common;

/// The list of what an attempt has registered: hooks, and values of its own.
#[derive(Clone, Copy)]
pub struct Journal<'a>(pub(crate) &'a Common);

impl Journal<'_> {
    /// Runs `hook` after the transaction has committed, unless what registers it is undone.
    pub(crate) fn on_commit(self, hook: Box<dyn FnOnce()>) {
        self.0.on_commit(hook);
    }

    /// Runs `hook` once what registers it was undone.
    pub(crate) fn on_rollback(self, hook: Box<dyn FnOnce()>) {
        self.0.on_rollback(hook);
    }
}

impl std::fmt::Debug for Journal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

/// A running transaction of some world, for helpers that know none: [`Transaction`](crate::Transaction), and that of
/// regions. There are no others.
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{Running, TransactionLocal, atomically};
/// static ACTOR: TransactionLocal<&str> = TransactionLocal::new(|| "system");
///
/// fn act_as(tx: &impl Running, name: &'static str) {
///     ACTOR.set(tx, name);
/// }
///
/// let actor = atomically(|tx| {
///     act_as(tx, "Ada");
///     Ok(ACTOR.get(tx))
/// });
/// assert_eq!(actor, "Ada");
/// ```
pub trait Running {
    #[doc(hidden)]
    fn journal(&self) -> Journal<'_>;
    /// May the attempt go on? False once an operation of it was interrupted.
    #[doc(hidden)]
    fn is_open(&self) -> bool;
}
