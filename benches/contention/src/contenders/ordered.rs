//! A mutex per cell, taken in ascending order: what a careful user writes without an STM.

/// Locks these cells in ascending order.
macro_rules! lock_all {
    ($cells:ident, $at:ident, $lock:expr) => {{
        if $at.is_sorted() {
            $at.iter().map(|&at| $lock(&$cells.0[at])).collect::<Vec<_>>()
        } else {
            let mut sorted = $at.to_vec();
            sorted.sort_unstable();
            sorted.into_iter().map(|at| $lock(&$cells.0[at])).collect::<Vec<_>>()
        }
    }};
}

/// Both kinds of mutex, as in [`mutex`](super::mutex).
macro_rules! ordered_mutexes {
    ($(#[$about:meta])* $name:ident, $mutex:ty, $lock:expr) => {
        $(#[$about])*
        pub(crate) struct $name(Vec<$mutex>);

        impl super::Cells for $name {
            fn new(count: usize, value: u64) -> Self {
                $name((0..count).map(|_| <$mutex>::new(value)).collect())
            }

            #[inline]
            fn update(&self, at: &[usize]) {
                if let [at] = at {
                    *$lock(&self.0[*at]) += 1;
                    return;
                }
                let mut locked = lock_all!(self, at, $lock);
                locked.iter_mut().for_each(|cell| **cell += 1);
            }

            #[inline]
            fn read(&self, at: &[usize]) -> u64 {
                if let [at] = at {
                    return *$lock(&self.0[*at]);
                }
                let locked = lock_all!(self, at, $lock);
                locked.iter().fold(0, |sum: u64, cell| sum.wrapping_add(**cell))
            }

            #[inline]
            fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
                let mut first = $lock(&self.0[from.min(to)]);
                let mut second = $lock(&self.0[from.max(to)]);
                let (from, to) =
                    if from < to { (&mut *first, &mut *second) } else { (&mut *second, &mut *first) };
                let Some(rest) = from.checked_sub(amount) else { return false };
                *from = rest;
                *to += amount;
                true
            }

            #[inline]
            fn audit(&self) -> u64 {
                let locked: Vec<_> = self.0.iter().map($lock).collect();
                locked.iter().fold(0, |sum: u64, cell| sum.wrapping_add(**cell))
            }

            fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
                let mut locked = lock_all!(self, at, $lock);
                locked.iter_mut().for_each(|cell| **cell += 1);
                meanwhile();
            }
        }
    };
}

ordered_mutexes!(
    /// `Mutex`es of std.
    StdCells,
    std::sync::Mutex<u64>,
    |mutex| std::sync::Mutex::lock(mutex).expect("nobody panics with it")
);

ordered_mutexes!(
    /// `Mutex`es of parking_lot.
    ParkingLotCells,
    parking_lot::Mutex<u64>,
    parking_lot::Mutex::lock
);
