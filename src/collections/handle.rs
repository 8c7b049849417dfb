//! What every handle on a collection implements, written once.

/// Another handle on the same collection, and a `Debug` that shows only what it is: whether this thread is inside a
/// transaction, and so which version it should show, is not known there.
macro_rules! handle {
    ({$($generics:tt)*} $type:ty, $name:literal, $($field:ident),+) => {
        impl<$($generics)*> Clone for $type {
            /// Another handle on the same one.
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone()),+ }
            }
        }

        /// Shows only what it is: whether this thread is inside a transaction, and so which version it should show,
        /// is not known here. Collect a snapshot to see what is in it.
        impl<$($generics)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!($name, "(..)"))
            }
        }
    };
}

/// Made by `$new`, and filled from iterators and arrays by `$add`: each item in a transaction of its own.
macro_rules! filled {
    ({$($generics:tt)*} $type:ty, $item:ty, $new:expr, $add:expr) => {
        /// A handle is enough to add items: `extend` through a reference. Each item is a transaction.
        impl<$($generics)*> Extend<$item> for &$type {
            fn extend<Items: IntoIterator<Item = $item>>(&mut self, items: Items) {
                for item in items {
                    $add(*self, item);
                }
            }
        }

        impl<$($generics)*> FromIterator<$item> for $type {
            #[cfg_attr(feature = "places", track_caller)]
            fn from_iter<Items: IntoIterator<Item = $item>>(items: Items) -> Self {
                let made = $new;
                (&made).extend(items);
                made
            }
        }
    };
}

pub(super) use {filled, handle};
