//! A list that mostly has one item, or none: no memory is needed for that.

use std::ops::Deref;

/// Some items, in the order in which they came.
#[derive(Debug, Default)]
pub enum Few<T> {
    /// None.
    #[default]
    None,
    /// One.
    One([T; 1]),
    /// Perhaps more.
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// Adds one.
    pub fn push(&mut self, item: T) {
        *self = match std::mem::take(self) {
            Few::None => Few::One([item]),
            Few::One([first]) => Few::Many(vec![first, item]),
            Few::Many(mut items) => {
                items.push(item);
                Few::Many(items)
            }
        };
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(one) => one,
            Few::Many(items) => items,
        }
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Few::None => (None, Vec::new()),
            Few::One([one]) => (Some(one), Vec::new()),
            Few::Many(items) => (None, items),
        };
        one.into_iter().chain(many)
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn items_stay_in_order_however_many_there_are() {
        let mut few = Few::default();
        for n in 0..5 {
            assert_eq!(*few, *(0..n).collect::<Vec<_>>());
            assert_eq!(matches!(few, Few::Many(_)), n > 1);
            few.push(n);
        }
        few.extend(Some(5));
        few.extend(None);
        assert_eq!(few.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Few::<u8>::None.into_iter().next(), None);
    }
}
