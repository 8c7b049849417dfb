//! Handles on cells of a region, and what may be their values.

use bytemuck::{Pod, Zeroable};
use contempo_core::region::LARGEST_VALUE;
use contempo_core::region::domain::RegionVersion;
use contempo_core::region::session::Stopped;
use std::marker::PhantomData;

/// A handle on a cell of a region. It means the same in every process, and may lie in a region itself.
///
/// Copying it copies the handle; the cell lives until it is freed
/// ([`Transaction::free`](crate::shared::Transaction::free)), and a transaction that uses it after that gets an error.
#[repr(C)]
pub struct Cell<T: ?Sized> {
    pub(crate) handle: u64,
    pub(crate) region: u64,
    /// Invariant in `T`: values go in as well as out.
    _value: PhantomData<fn(&T) -> &T>,
}

impl<T: ?Sized> Cell<T> {
    /// A handle that names no cell.
    ///
    /// ```
    /// assert!(contempo::shared::Cell::<u64>::null().is_null());
    /// ```
    pub const fn null() -> Self {
        Cell { handle: 0, region: 0, _value: PhantomData }
    }

    /// Does it name no cell?
    pub const fn is_null(self) -> bool {
        self.handle == 0
    }

    /// The handle as two words, to be kept anywhere.
    ///
    /// ```
    /// use contempo::shared::Cell;
    /// assert_eq!(Cell::<u64>::null().to_bits(), [0, 0]);
    /// ```
    pub const fn to_bits(self) -> [u64; 2] {
        [self.handle, self.region]
    }

    /// The handle that these words are. If they are none, its use is an error.
    ///
    /// ```
    /// use contempo::shared::Cell;
    /// assert!(Cell::<u64>::from_bits([0, 0]).is_null());
    /// ```
    pub const fn from_bits(words: [u64; 2]) -> Self {
        Cell { handle: words[0], region: words[1], _value: PhantomData }
    }

    pub(crate) const fn new(handle: u64, region: u64) -> Self {
        Cell { handle, region, _value: PhantomData }
    }
}

impl<T: ?Sized> Clone for Cell<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Cell<T> {}

impl<T: ?Sized> PartialEq for Cell<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.handle, self.region) == (other.handle, other.region)
    }
}

impl<T: ?Sized> Eq for Cell<T> {}

impl<T: ?Sized> std::hash::Hash for Cell<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.handle, self.region).hash(state);
    }
}

impl<T: ?Sized> std::fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cell({:#x})", self.handle)
    }
}

// SAFETY: two words, for which zero is the null handle.
unsafe impl<T: ?Sized> Zeroable for Cell<T> {}
// SAFETY: `repr(C)`, two words and nothing else; any bits do, since handles are checked when used.
unsafe impl<T: ?Sized + 'static> Pod for Cell<T> {}

mod sealed {
    pub trait Sealed {}
    impl<T: bytemuck::Pod> Sealed for T {}
    impl Sealed for [u8] {}
    impl Sealed for str {}
}

/// What may be the value of a shared cell: plain data ([`Pod`], with alignment up to 8), `[u8]`, `str`.
///
/// Types of your own are plain data if they say so by the derives of [`bytemuck`], which is part of this crate's
/// interface as [`contempo::shared::bytemuck`](crate::shared::bytemuck). The derive looks at each field, and
/// refuses padding. The attribute tells it where `bytemuck` is; a program that depends on `bytemuck` itself
/// does without.
///
/// ```
/// use contempo::shared::bytemuck::{Pod, Zeroable};
/// use contempo::shared::{Cell, Options, Shared};
///
/// #[derive(Clone, Copy, Pod, Zeroable, PartialEq, Debug)]
/// #[bytemuck(crate = "contempo::shared::bytemuck")]
/// #[repr(C)]
/// struct Account {
///     balance: i64,
///     owner: u32,
///     uses: u32, // without it there would be padding, and an error of the compiler
///     note: Cell<str>,
/// }
///
/// # let path = std::env::temp_dir().join(format!("contempo-doc-derive-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let account = shared.root("account", Account { balance: -5, owner: 7, uses: 0, note: Cell::null() })?;
/// shared.atomically(|tx| {
///     let note = tx.create("in debt")?;
///     tx.modify(account, |account| Account { uses: account.uses + 1, note, ..account })
/// })?;
/// let note = shared.snapshot(|view| Ok(view.read(view.read(account)?.note)?.to_owned()))?;
/// assert_eq!(note, "in debt");
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A type with padding is refused:
///
/// ```compile_fail
/// use contempo::shared::bytemuck::{Pod, Zeroable};
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "contempo::shared::bytemuck")]
/// #[repr(C)]
/// struct Account {
///     balance: i64,
///     owner: u32,
/// }
/// ```
///
/// Any bits in a region are a value of plain data, whichever process wrote them. That none changes them while they are
/// read rests on the processes that map the region: they follow the protocol, which never changes a value in
/// place. (A program that may write to the file can do otherwise: see `docs/regions.md`, "What is trusted".) Pointers
/// and references are not plain data, as they mean nothing to another process; handles ([`Cell`]) are.
///
/// ```compile_fail
/// fn into_a_region<T: contempo::shared::Value>(_: T) {}
/// into_a_region(&5); // does not compile: a reference
/// ```
///
/// ```compile_fail
/// # fn f(shared: &contempo::shared::Shared) {
/// let _ = shared.atomically(|tx| tx.create(&[0_u64; 4096])); // does not compile: larger than any block
/// # }
/// # fn main() { f(&contempo::shared::Shared::open("").unwrap()) }
/// ```
pub trait Value: sealed::Sealed + 'static {
    /// What a read gives.
    type Read<'a>;

    #[doc(hidden)]
    const SIZE: Option<usize>;
    #[doc(hidden)]
    fn bytes(&self) -> &[u8];
    /// # Safety
    /// The version has `length` bytes of data that stay as they are for `'a`; and `length` is `SIZE` if
    /// that is known.
    #[doc(hidden)]
    unsafe fn read<'a>(
        version: &'a RegionVersion,
        length: usize,
    ) -> Result<Self::Read<'a>, Stopped>;
}

impl<T: Pod> Value for T {
    type Read<'a> = T;

    const SIZE: Option<usize> = {
        assert!(align_of::<T>() <= 8, "values in a region are aligned to 8 bytes");
        Some(size_of::<T>())
    };

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        const { assert!(size_of::<T>() <= LARGEST_VALUE, "no block in a region is so large") };
        bytemuck::bytes_of(self)
    }

    #[inline(always)]
    unsafe fn read(version: &RegionVersion, _: usize) -> Result<T, Stopped> {
        // SAFETY: the version has `SIZE` bytes of data, those of a `T`, which stay as they are (`# Safety`); data is
        // aligned to 8 bytes, and so a `T` (asserted in `SIZE`). Any bits are a `T`, which is `Pod`.
        Ok(unsafe { version.data().cast::<T>().read() })
    }
}

impl Value for [u8] {
    type Read<'a> = &'a [u8];

    const SIZE: Option<usize> = None;

    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline]
    unsafe fn read(version: &RegionVersion, length: usize) -> Result<&[u8], Stopped> {
        // SAFETY: the version has `length` bytes of data, which stay as they are as long as the reference (`# Safety`).
        Ok(unsafe { std::slice::from_raw_parts(version.data(), length) })
    }
}

impl Value for str {
    type Read<'a> = &'a str;

    const SIZE: Option<usize> = None;

    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    #[inline]
    unsafe fn read(version: &RegionVersion, length: usize) -> Result<&str, Stopped> {
        // SAFETY: the version has `length` bytes of data, which stay as they are as long as the reference (`# Safety`).
        let bytes = unsafe { std::slice::from_raw_parts(version.data(), length) };
        std::str::from_utf8(bytes).map_err(|_| Stopped::NotText)
    }
}
