//! Counts of blocks, by where they wait.

/// How many blocks, and where they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Blocks {
    pub(super) plain: usize,
    pub(super) weighty: usize,
    /// Left by others.
    pub(super) left: usize,
}

impl Blocks {
    pub(super) fn none(self) -> bool {
        self.plain + self.weighty + self.left == 0
    }
}

impl std::ops::Sub for Blocks {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Blocks {
            plain: self.plain.saturating_sub(other.plain),
            weighty: self.weighty.saturating_sub(other.weighty),
            left: self.left.saturating_sub(other.left),
        }
    }
}

impl std::ops::AddAssign for Blocks {
    fn add_assign(&mut self, other: Self) {
        self.plain += other.plain;
        self.weighty += other.weighty;
        self.left += other.left;
    }
}
