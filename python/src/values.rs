//! Values as bytes and references.
//!
//! | tag | value | bytes that follow |
//! | --- | --- | --- |
//! | 0, 1, 2 | `None`, `False`, `True` | |
//! | 3 | an int | as few as it has, the lowest first, signed; none for 0 |
//! | 4 | a float | 8, the lowest first |
//! | 5 | a str | UTF-8; lone surrogates as if they were characters |
//! | 6 | a bytes | themselves |
//! | 7 | a tuple | for each item its length (4, the lowest first) and itself |
//! | 8 | a dict of a region | ; the next of the value's references names it |
//!
//! A key is written so that keys are equal if Python says so: numbers that are whole are ints. Whatever is read is
//! checked: damage is an error.

use crate::errors::Damaged;
use contempo::shared::Cell;
use pyo3::exceptions::{PyRecursionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};

const NONE: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const STR: u8 = 5;
const BYTES: u8 = 6;
const TUPLE: u8 = 7;
const DICT: u8 = 8;

/// Tuples in tuples.
const DEEPEST: usize = 100;

/// A value as it lies in a region.
#[derive(Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) references: Vec<Cell<[u8]>>,
}

/// The objects of a region.
pub(crate) trait Objects {
    /// The kind and top cell of `value`, if it is one of them.
    fn cell_of(&self, value: &Bound<'_, PyAny>) -> PyResult<Option<(Kind, Cell<[u8]>)>>;
    /// The object of this kind and top cell.
    fn object<'py>(
        &self,
        py: Python<'py>,
        kind: Kind,
        cell: Cell<[u8]>,
    ) -> PyResult<Bound<'py, PyAny>>;
}

/// Which kind of object a reference names.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Dict,
}

/// The bytes of a key.
pub(crate) fn key(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut encoded = Encoded::default();
    encode(value, &mut encoded, None, 0)?;
    Ok(encoded.bytes)
}

/// A value, which may refer to `objects`.
pub(crate) fn value(value: &Bound<'_, PyAny>, objects: &dyn Objects) -> PyResult<Encoded> {
    let mut encoded = Encoded::default();
    encode(value, &mut encoded, Some(objects), 0)?;
    Ok(encoded)
}

/// `objects`: those that a value may refer to. None: for a key.
fn encode(
    value: &Bound<'_, PyAny>,
    to: &mut Encoded,
    objects: Option<&dyn Objects>,
    depth: usize,
) -> PyResult<()> {
    if depth > DEEPEST {
        return Err(PyRecursionError::new_err("tuples are nested too deeply"));
    }
    if let Ok(text) = value.cast_exact::<PyString>() {
        return encode_text(text, &mut to.bytes);
    }
    if value.is_none() {
        to.bytes.push(NONE);
        return Ok(());
    }
    if let Ok(truth) = value.cast_exact::<PyBool>() {
        match (objects, truth.is_true()) {
            (Some(_), truth) => to.bytes.push(if truth { TRUE } else { FALSE }),
            // As the int that it is equal to.
            (None, truth) => encode_small(truth.into(), &mut to.bytes),
        }
        return Ok(());
    }
    if let Ok(int) = value.cast_exact::<PyInt>() {
        return encode_int(int, &mut to.bytes);
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return encode_float(float, &mut to.bytes, objects.is_none());
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        to.bytes.push(BYTES);
        to.bytes.extend_from_slice(bytes.as_bytes());
        return Ok(());
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        to.bytes.push(TUPLE);
        for item in tuple.iter() {
            let at = to.bytes.len();
            to.bytes.extend([0; 4]);
            encode(&item, to, objects, depth + 1)?;
            let length = u32::try_from(to.bytes.len() - at - 4)
                .map_err(|_| PyValueError::new_err("the value has more than 4 GiB"))?;
            to.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
        return Ok(());
    }
    if let Some(objects) = objects
        && let Some((Kind::Dict, cell)) = objects.cell_of(value)?
    {
        to.bytes.push(DICT);
        to.references.push(cell);
        return Ok(());
    }
    Err(not_shared(value, objects.is_none()))
}

#[cold]
fn not_shared(value: &Bound<'_, PyAny>, is_key: bool) -> PyErr {
    let what = value.get_type().name().map(|it| it.to_string()).unwrap_or_default();
    PyTypeError::new_err(match is_key {
        true => format!(
            "a key may be None, a bool, int, float, str, bytes, or a tuple of these; not {what}"
        ),
        false => format!(
            "None, bool, int, float, str, bytes, tuples, and objects of the region (region.dict()) may be shared; not \
             {what}"
        ),
    })
}

fn encode_small(int: i64, to: &mut Vec<u8>) {
    to.push(INT);
    if int == 0 {
        return;
    }
    let bytes = int.to_le_bytes();
    // Bytes that only repeat the sign go.
    let sign = if int < 0 { 0xff } else { 0 };
    let mut length = 8;
    while length > 1 && bytes[length - 1] == sign && (bytes[length - 2] ^ sign) & 0x80 == 0 {
        length -= 1;
    }
    to.extend_from_slice(&bytes[..length]);
}

fn encode_int(int: &Bound<'_, PyInt>, to: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(small) = int.extract::<i64>() {
        encode_small(small, to);
        return Ok(());
    }
    let py = int.py();
    let bits: usize = int.call_method0("bit_length")?.extract()?;
    let kwargs = PyDict::new(py);
    kwargs.set_item("signed", true)?;
    let bytes = int.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&kwargs))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    to.push(INT);
    // -2^(8n - 1) has a byte less than `bit_length` says.
    let spare = match bytes {
        [.., before, last] => {
            (*last == 0xff && before & 0x80 != 0) || (*last == 0 && before & 0x80 == 0)
        }
        _ => false,
    };
    to.extend_from_slice(&bytes[..bytes.len() - usize::from(spare)]);
    Ok(())
}

fn encode_float(float: &Bound<'_, PyFloat>, to: &mut Vec<u8>, is_key: bool) -> PyResult<()> {
    let number = float.value();
    if is_key && number.is_nan() {
        return Err(PyValueError::new_err("nan is no key: it is equal to nothing"));
    }
    if is_key && number.is_finite() && number.fract() == 0.0 {
        let int = float.call_method0("__int__")?;
        return encode_int(int.cast::<PyInt>()?, to);
    }
    to.push(FLOAT);
    to.extend(number.to_le_bytes());
    Ok(())
}

fn encode_text(text: &Bound<'_, PyString>, to: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(text) = text.to_str() {
        to.reserve(1 + text.len());
        to.push(STR);
        to.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    to.push(STR);
    to.extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

#[cold]
fn damaged() -> PyErr {
    Damaged::new_err("the region holds a value that contempo does not write")
}

/// The value of these bytes and references, which may be to `objects`.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    objects: &dyn Objects,
    encoded: &Encoded,
) -> PyResult<Bound<'py, PyAny>> {
    Decoder { py, objects, references: encoded.references.iter() }.decode(&encoded.bytes, 0)
}

/// The key of these bytes.
pub(crate) fn decode_key<'py>(
    py: Python<'py>,
    objects: &dyn Objects,
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    Decoder { py, objects, references: [].iter() }.decode(bytes, 0)
}

struct Decoder<'py, 'v> {
    py: Python<'py>,
    objects: &'v dyn Objects,
    references: std::slice::Iter<'v, Cell<[u8]>>,
}

impl<'py> Decoder<'py, '_> {
    fn decode(&mut self, bytes: &[u8], depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let Some((tag, rest)) = bytes.split_first() else { return Err(damaged()) };
        Ok(match (*tag, rest) {
            (NONE, []) => py.None().into_bound(py),
            (FALSE, []) => PyBool::new(py, false).to_owned().into_any(),
            (TRUE, []) => PyBool::new(py, true).to_owned().into_any(),
            (INT, rest) => return decode_int(py, rest),
            (FLOAT, rest) => {
                let bytes = rest.try_into().map_err(|_| damaged())?;
                PyFloat::new(py, f64::from_le_bytes(bytes)).into_any()
            }
            (STR, rest) => return decode_text(py, rest),
            (BYTES, rest) => PyBytes::new(py, rest).into_any(),
            (TUPLE, rest) if depth <= DEEPEST => {
                let (mut items, mut rest) = (Vec::new(), rest);
                while let Some((length, behind)) = rest.split_first_chunk::<4>() {
                    let item = behind.split_at_checked(u32::from_le_bytes(*length) as usize);
                    let (item, behind) = item.ok_or_else(damaged)?;
                    items.push(self.decode(item, depth + 1)?);
                    rest = behind;
                }
                if !rest.is_empty() {
                    return Err(damaged());
                }
                PyTuple::new(py, items)?.into_any()
            }
            (DICT, []) => {
                let cell = self.references.next().ok_or_else(damaged)?;
                self.objects.object(py, Kind::Dict, *cell)?
            }
            _ => return Err(damaged()),
        })
    }
}

fn decode_int<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if bytes.len() <= 8 {
        let sign = bytes.last().map_or(0, |last| if last & 0x80 != 0 { 0xff } else { 0 });
        let mut all = [sign; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        return Ok(i64::from_le_bytes(all).into_pyobject(py)?.into_any());
    }
    let kwargs = PyDict::new(py);
    kwargs.set_item("signed", true)?;
    let int = py.get_type::<PyInt>();
    int.call_method("from_bytes", (PyBytes::new(py, bytes), "little"), Some(&kwargs))
}

fn decode_text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(PyString::new(py, text).into_any());
    }
    let bytes = PyBytes::new(py, bytes);
    bytes.call_method1("decode", ("utf-8", "surrogatepass")).map_err(|_| damaged())
}
