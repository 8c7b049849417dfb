//! One mutex around everything.

/// What is inside: ordinary cells. Generic code over the two kinds of mutex would hide what is
/// measured, so a macro writes both.
macro_rules! behind_one_mutex {
    ($(#[$about:meta])* $name:ident, $mutex:ty, $lock:expr) => {
        $(#[$about])*
        pub(crate) struct $name($mutex);

        impl super::Cells for $name {
            fn new(count: usize, value: u64) -> Self {
                $name(<$mutex>::new(vec![value; count]))
            }

            #[inline]
            fn update(&self, at: &[usize]) {
                let mut cells = $lock(&self.0);
                at.iter().for_each(|&at| cells[at] += 1);
            }

            #[inline]
            fn read(&self, at: &[usize]) -> u64 {
                let cells = $lock(&self.0);
                at.iter().fold(0, |sum: u64, &at| sum.wrapping_add(cells[at]))
            }

            #[inline]
            fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
                let mut cells = $lock(&self.0);
                let Some(rest) = cells[from].checked_sub(amount) else { return false };
                cells[from] = rest;
                cells[to] += amount;
                true
            }

            #[inline]
            fn audit(&self) -> u64 {
                $lock(&self.0).iter().fold(0, |sum: u64, cell| sum.wrapping_add(*cell))
            }

            fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
                let mut cells = $lock(&self.0);
                at.iter().for_each(|&at| cells[at] += 1);
                meanwhile();
            }
        }
    };
}

behind_one_mutex!(
    /// A `Mutex` of std.
    StdCells,
    std::sync::Mutex<Vec<u64>>,
    |mutex| std::sync::Mutex::lock(mutex).expect("nobody panics with it")
);

behind_one_mutex!(
    /// A `Mutex` of parking_lot.
    ParkingLotCells,
    parking_lot::Mutex<Vec<u64>>,
    parking_lot::Mutex::lock
);
