//! What transactional memories have in common, so that each structure is written once for all.

use std::ops::Deref;

/// What can be in a variable.
pub(crate) trait Value: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Value for T {}

/// Where variables can be read: in a transaction, or in one that only reads.
pub(crate) trait Access<S: Stm> {
    /// The value of a variable.
    fn read<'a, T: Value>(&'a self, variable: &S::Var<T>) -> Result<S::Ref<'a, T>, S::Stop>;
}

/// A transactional memory.
///
/// Bodies may run several times. They pass every [`Stop`](Self::Stop) on, and they bear values that
/// do not belong together: not every memory keeps them from aborted attempts.
pub(crate) trait Stm: Sized + Send + Sync + 'static {
    /// A variable.
    type Var<T: Value>: Clone + Send + Sync + 'static;
    /// What reading gives: a reference, or a value of one's own.
    type Ref<'a, T: Value>: Deref<Target = T>;
    /// Why an attempt ended.
    type Stop;
    /// A transaction.
    type Tx<'t>: Access<Self>;
    /// A transaction that only reads.
    type View<'t>: Access<Self>;

    /// A variable with this value.
    fn var<T: Value>(value: T) -> Self::Var<T>;

    /// Runs `body` until it commits.
    fn atomically<R>(body: impl Fn(&Self::Tx<'_>) -> Result<R, Self::Stop>) -> R;

    /// Runs `body`, which only reads.
    fn look<R>(body: impl Fn(&Self::View<'_>) -> Result<R, Self::Stop>) -> R;

    /// Sets a variable.
    fn write<T: Value>(
        tx: &Self::Tx<'_>,
        variable: &Self::Var<T>,
        value: T,
    ) -> Result<(), Self::Stop>;

    /// Waits until something changes that was read.
    fn retry<R>(tx: &Self::Tx<'_>) -> Result<R, Self::Stop>;

    /// Replaces the value of a variable by what `change` makes of it.
    #[inline(always)]
    fn modify<T: Value>(
        tx: &Self::Tx<'_>,
        variable: &Self::Var<T>,
        change: impl FnOnce(&T) -> T,
    ) -> Result<(), Self::Stop> {
        let value = change(&*tx.read(variable)?);
        Self::write(tx, variable, value)
    }
}
