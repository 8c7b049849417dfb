//! The dict of a region.

use crate::attempts::{read, write};
use crate::errors;
use crate::opened::Opened;
use crate::region::Region;
use crate::values::{self, Encoded, Kind, Objects};
use contempo::shared::dynamic::{Content, Dictionary};
use contempo::shared::{Cell, Interrupt, Reader};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyTuple};
use std::cell::RefCell;

/// A dict that lies in a region. It is made by `region.dict()`, or is `region.root`.
///
/// Entries come in the order in which they were inserted. What this holds is a reference: two objects of this class may
/// be the same dict (`a.same(b)`). Each operation is atomic by itself, and belongs to the transaction or snapshot that runs around it.
#[pyclass(module = "contempo", frozen, mapping, weakref)]
pub(crate) struct Dict {
    pub(crate) region: Py<Region>,
    pub(crate) dictionary: Dictionary,
}

/// A copy of what was read, of which nothing lies in the region any more.
fn copied<'a>(at: &impl Reader<'a>, content: &Content<'a>) -> Result<Encoded, Interrupt> {
    let bytes = content.bytes(at)?.into_owned();
    Ok(Encoded { bytes, references: content.references().collect() })
}

impl Objects for Py<Region> {
    fn cell_of(&self, value: &Bound<'_, PyAny>) -> PyResult<Option<(Kind, Cell<[u8]>)>> {
        let Ok(dict) = value.cast::<Dict>() else { return Ok(None) };
        let dict = dict.get();
        if dict.of().number != self.get().opened.number {
            return Err(PyValueError::new_err("the object is one of another region"));
        }
        Ok(Some((Kind::Dict, dict.dictionary.cell())))
    }

    fn object<'py>(
        &self,
        py: Python<'py>,
        kind: Kind,
        cell: Cell<[u8]>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match kind {
            Kind::Dict => Ok(Bound::new(py, Dict::at(self.clone_ref(py), cell))?.into_any()),
        }
    }
}

impl Dict {
    pub(crate) fn at(region: Py<Region>, cell: Cell<[u8]>) -> Self {
        Dict { region, dictionary: Dictionary::from_cell(cell) }
    }

    fn of(&self) -> &Opened {
        &self.region.get().opened
    }

    fn decoded<'py>(&self, py: Python<'py>, value: &Encoded) -> PyResult<Bound<'py, PyAny>> {
        values::decode(py, &self.region, value)
    }

    fn encoded(&self, value: &Bound<'_, PyAny>) -> PyResult<Encoded> {
        values::value(value, &self.region)
    }

    fn find(&self, key: &[u8]) -> PyResult<Option<Encoded>> {
        read!(self.of(), |at| {
            let found = self.dictionary.get(at, key)?;
            found.map(|found| copied(at, &found)).transpose()
        })
    }

    /// Keys in order.
    fn all_keys(&self) -> PyResult<Vec<Vec<u8>>> {
        read!(self.of(), |at| {
            let entries = self.dictionary.in_order(at)?;
            Ok(entries.into_iter().map(|(key, _)| key.to_vec()).collect())
        })
    }

    /// Entries in order.
    fn all(&self) -> PyResult<Vec<(Vec<u8>, Encoded)>> {
        read!(self.of(), |at| {
            let entries = self.dictionary.in_order(at)?.into_iter();
            entries.map(|(key, content)| Ok((key.to_vec(), copied(at, &content)?))).collect()
        })
    }

    fn insert_all(&self, py: Python<'_>, entries: &[(Vec<u8>, Encoded)]) -> PyResult<()> {
        write(py, self.of(), |tx| {
            entries.iter().try_for_each(|(key, value)| {
                self.dictionary.insert(tx, key, &value.bytes, &value.references).map(drop)
            })
        })
    }

    /// What `dict(given, **named)` would have.
    fn given(
        &self,
        py: Python<'_>,
        given: Option<&Bound<'_, PyAny>>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<(Vec<u8>, Encoded)>> {
        let items = match given {
            None => PyDict::new(py),
            Some(given) if given.is_exact_instance_of::<PyDict>() => {
                given.cast::<PyDict>()?.clone()
            }
            Some(given) => {
                let items = PyDict::new(py);
                items.call_method1("update", (given,))?;
                items
            }
        };
        let mut entries = Vec::new();
        for (key, value) in items.iter().chain(named.into_iter().flat_map(|it| it.iter())) {
            entries.push((values::key(&key)?, self.encoded(&value)?));
        }
        Ok(entries)
    }

    /// A new dict of the region, with these entries.
    pub(crate) fn made(
        py: Python<'_>,
        region: &Bound<'_, Region>,
        given: Option<&Bound<'_, PyAny>>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let inner = region.get();
        let of = || Dict { region: region.clone().unbind(), dictionary: inner.root };
        let entries = of().given(py, given, named)?;
        let dictionary = write(py, &inner.opened, |tx| {
            let dictionary = Dictionary::create(tx)?;
            for (key, value) in &entries {
                dictionary.insert(tx, key, &value.bytes, &value.references)?;
            }
            Ok(dictionary)
        })?;
        Ok(Dict { dictionary, ..of() })
    }

    fn no_such_key(key: &Bound<'_, PyAny>) -> PyErr {
        PyKeyError::new_err((key.clone().unbind(),))
    }
}

thread_local! {
    /// Dicts of which this thread is making the `repr`.
    static SHOWN: RefCell<Vec<Dictionary>> = const { RefCell::new(Vec::new()) };
}

#[pymethods]
impl Dict {
    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.find(&values::key(key)?)? {
            Some(value) => self.decoded(key.py(), &value),
            None => Err(Self::no_such_key(key)),
        }
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (at, value) = (values::key(key)?, self.encoded(value)?);
        write(key.py(), self.of(), |tx| {
            self.dictionary.insert(tx, &at, &value.bytes, &value.references).map(drop)
        })
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let at = values::key(key)?;
        match write(key.py(), self.of(), |tx| self.dictionary.remove(tx, &at))? {
            true => Ok(()),
            false => Err(Self::no_such_key(key)),
        }
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let key = values::key(key)?;
        read!(self.of(), |at| self.dictionary.contains(at, &key))
    }

    /// Counts the entries: linear in their number.
    fn __len__(&self) -> PyResult<usize> {
        read!(self.of(), |at| self.dictionary.len(at))
    }

    fn __bool__(&self) -> PyResult<bool> {
        read!(self.of(), |at| Ok(!self.dictionary.is_empty(at)?))
    }

    /// Goes through the keys that there are now.
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.keys(py)?.try_iter()
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let keys = self.keys(py)?;
        keys.reverse()?;
        keys.try_iter()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        if SHOWN.with_borrow(|shown| shown.contains(&self.dictionary)) {
            return Ok("Dict({...})".into());
        }
        SHOWN.with_borrow_mut(|shown| shown.push(self.dictionary));
        let text = self.to_dict(py).and_then(|dict| dict.repr()).map(|it| format!("Dict({it})"));
        SHOWN.with_borrow_mut(Vec::pop);
        text
    }

    fn __richcmp__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let equal = match (op, other.cast::<Dict>()) {
            (CompareOp::Eq | CompareOp::Ne, Ok(other)) => {
                let other = other.get();
                self.dictionary == other.dictionary || self.to_dict(py)?.eq(other.to_dict(py)?)?
            }
            (CompareOp::Eq | CompareOp::Ne, _) if other.is_instance_of::<PyDict>() => {
                self.to_dict(py)?.eq(other)?
            }
            _ => return Ok(py.NotImplemented().into_bound(py)),
        };
        let outcome = equal == matches!(op, CompareOp::Eq);
        Ok(pyo3::types::PyBool::new(py, outcome).to_owned().into_any())
    }

    fn __hash__(&self) -> PyResult<isize> {
        Err(PyTypeError::new_err("unhashable type: 'contempo.Dict'"))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let make = py.import("contempo")?.getattr("_dict_at")?;
        let inner = slf.get();
        let [handle, region] = inner.dictionary.cell().to_bits();
        let arguments = (inner.region.clone_ref(py), handle, region).into_pyobject(py)?;
        PyTuple::new(py, [make, arguments.into_any()])
    }

    /// Are they one and the same dict?
    fn same(&self, other: &Bound<'_, Dict>) -> bool {
        self.dictionary == other.get().dictionary
    }

    /// The value of `key`, or `default`.
    #[pyo3(signature = (key, default=None, /))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        match self.find(&values::key(key)?)? {
            Some(value) => self.decoded(py, &value),
            None => Ok(default.unwrap_or_else(|| py.None().into_bound(py))),
        }
    }

    /// The value of `key`; if there is none, `default`, which is inserted then. One transaction.
    #[pyo3(signature = (key, default=None, /))]
    fn setdefault<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        let (key, value) = (values::key(key)?, self.encoded(&default)?);
        let found = write(py, self.of(), |tx| match self.dictionary.get(tx, &key)? {
            Some(found) => copied(tx, &found).map(Some),
            None => {
                self.dictionary.insert(tx, &key, &value.bytes, &value.references)?;
                Ok(None)
            }
        })?;
        found.map_or(Ok(default), |found| self.decoded(py, &found))
    }

    /// Removes `key`: its value; if there is none, `default`, or `KeyError` without one. One transaction.
    #[pyo3(signature = (key, /, *default))]
    fn pop<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if default.len() > 1 {
            return Err(PyTypeError::new_err("pop expected at most 2 arguments"));
        }
        let at = values::key(key)?;
        let found = write(key.py(), self.of(), |tx| {
            let Some(found) = self.dictionary.get(tx, &at)? else { return Ok(None) };
            let found = copied(tx, &found)?;
            self.dictionary.remove(tx, &at)?;
            Ok(Some(found))
        })?;
        match found {
            Some(found) => self.decoded(key.py(), &found),
            None => default.get_item(0).map_err(|_| Self::no_such_key(key)),
        }
    }

    /// Removes the entry that was inserted last: its key and value. One transaction, linear in the number of entries.
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let found = write(py, self.of(), |tx| {
            let entries = self.dictionary.in_order(tx)?;
            let Some((key, content)) = entries.last() else { return Ok(None) };
            let found = (key.to_vec(), copied(tx, content)?);
            self.dictionary.remove(tx, &found.0)?;
            Ok(Some(found))
        })?;
        let (key, value) =
            found.ok_or_else(|| PyKeyError::new_err("popitem(): dictionary is empty"))?;
        Ok((values::decode_key(py, &self.region, &key)?, self.decoded(py, &value)?))
    }

    /// Inserts all entries of a mapping, or of pairs. One transaction.
    #[pyo3(signature = (other=None, /, **named))]
    fn update(
        &self,
        py: Python<'_>,
        other: Option<&Bound<'_, PyAny>>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        self.insert_all(py, &self.given(py, other, named)?)
    }

    fn __ior__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.insert_all(py, &self.given(py, Some(other), None)?)
    }

    /// Removes all entries.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        write(py, self.of(), |tx| self.dictionary.clear(tx))
    }

    /// A list of the keys that there are now.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = self.all_keys()?;
        let keys = keys.iter().map(|key| values::decode_key(py, &self.region, key));
        PyList::new(py, keys.collect::<PyResult<Vec<_>>>()?)
    }

    /// A list of the values that there are now.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all = self.all()?;
        let values = all.iter().map(|(_, value)| self.decoded(py, value));
        PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)
    }

    /// A list of the entries that there are now: pairs of key and value.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all = self.all()?;
        let items = all.iter().map(|(key, value)| {
            Ok((values::decode_key(py, &self.region, key)?, self.decoded(py, value)?))
        });
        PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)
    }

    /// A `dict` with the entries that there are now. Values that are dicts of the region stay what they are.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (key, value) in self.all()? {
            dict.set_item(values::decode_key(py, &self.region, &key)?, self.decoded(py, &value)?)?;
        }
        Ok(dict)
    }

    /// Frees the dict and its entries; not the objects that these refer to. What still refers to it finds that it is
    /// stale.
    fn free(&self, py: Python<'_>) -> PyResult<()> {
        if self.dictionary == self.region.get().root {
            return Err(errors::Error::new_err("the root of a region cannot be freed"));
        }
        write(py, self.of(), |tx| self.dictionary.free(tx))
    }

    /// The dict of a handle, for `pickle`.
    #[staticmethod]
    fn _at(region: Py<Region>, handle: u64, number: u64) -> Self {
        Dict::at(region, Cell::from_bits([handle, number]))
    }
}
