//! What every handle of 16 bytes on a collection of a region implements, written once.

/// For a `repr(transparent)` type over `$field`, the handle of a cell or of another collection.
macro_rules! handle {
    ($name:ident $(<$($of:ident),+>)?, $field:ident) => {
        impl$(<$($of),+>)? Clone for $name$(<$($of),+>)? {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl$(<$($of),+>)? Copy for $name$(<$($of),+>)? {}

        impl$(<$($of),+>)? PartialEq for $name$(<$($of),+>)? {
            /// Are they handles on the same one?
            fn eq(&self, other: &Self) -> bool {
                self.$field == other.$field
            }
        }

        impl$(<$($of),+>)? Eq for $name$(<$($of),+>)? {}

        impl$(<$($of),+>)? std::fmt::Debug for $name$(<$($of),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.$field).finish()
            }
        }

        // SAFETY: `repr(transparent)` over a handle (the macro's rule), for which zero is the null handle.
        unsafe impl$(<$($of: 'static),+>)? bytemuck::Zeroable for $name$(<$($of),+>)? {}
        // SAFETY: `repr(transparent)` over a handle (the macro's rule), which is plain data without padding. Any bits
        // do, since handles and what they name are checked when they are used.
        unsafe impl$(<$($of: 'static),+>)? bytemuck::Pod for $name$(<$($of),+>)? {}
    };
}

pub(super) use handle;
