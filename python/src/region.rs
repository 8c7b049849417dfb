//! A region, and transactions in it.

use crate::attempts::{Open, detached, pop, push, wait, with_open};
use crate::dict::Dict;
use crate::errors;
use crate::opened::Opened;
use contempo::explicit::{Limits, Savepoint, transaction};
use contempo::shared::dynamic::Dictionary;
use contempo::shared::{Interrupt, Options, Shared};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::path::PathBuf;
use std::time::Duration;

/// The name under which Rust finds the root.
const ROOT: &str = "python";

/// A region: a file, mostly in `/dev/shm`, that several processes have open. `contempo.open` gives one.
#[pyclass(module = "contempo", frozen, weakref)]
pub(crate) struct Region {
    pub(crate) opened: Opened,
    pub(crate) root: Dictionary,
    path: PathBuf,
}

type OpenWith = (PathBuf, Option<Options>);

/// Opens a region; or makes it, if there is none and it is to be made.
#[pyfunction]
#[pyo3(name = "_open")]
pub(crate) fn open(
    py: Python<'_>,
    path: PathBuf,
    create: bool,
    most_bytes: Option<u64>,
) -> PyResult<Region> {
    let options = match most_bytes {
        Some(most) => Options::new().most_bytes(most),
        None => Options::new(),
    };
    let opened =
        detached(py, (path.clone(), create.then_some(options)), |(path, options): OpenWith| {
            let shared = match options {
                Some(options) => Shared::open_or_create(&path, &options),
                None => Shared::open(&path),
            };
            shared.map_err(errors::not_opened).and_then(|shared| {
                let root = Dictionary::root(&shared, ROOT).map_err(errors::no_root)?;
                let number = shared.inspect().instance;
                Ok((shared, root, number))
            })
        });
    let (shared, root, number) = opened?;
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(Region { opened: Opened::new(shared, number), root, path })
}

/// Removes the region at `path` and its liveness file. Processes that have it open go on with it.
#[pyfunction]
pub(crate) fn remove(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    detached(py, path, Shared::remove).map_err(errors::not_opened)
}

fn limits(timeout: Option<f64>) -> PyResult<Limits> {
    let Some(seconds) = timeout else { return Ok(Limits::default()) };
    let timeout = Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err("timeout is a number of seconds, 0 or more"))?;
    Ok(Limits::default().within_timeout(timeout))
}

/// What is called in a transaction.
struct Call<'a, 'py> {
    function: &'a Bound<'py, PyAny>,
    args: &'a Bound<'py, PyTuple>,
    kwargs: Option<&'a Bound<'py, PyDict>>,
}

impl<'py> Call<'_, 'py> {
    fn call(&self) -> PyResult<Bound<'py, PyAny>> {
        let value = self.function.call(self.args, self.kwargs)?;
        // It would run after the transaction. (`close`: else it says that nothing has awaited it.)
        if is_coroutine(&value)? {
            value.call_method0("close")?;
            return Err(PyTypeError::new_err(
                "the function of a transaction cannot be async: it would wait with the transaction open",
            ));
        }
        Ok(value)
    }
}

/// Is it what a call of an `async` function gives? By its type: to ask it for `__await__` would cost more than an empty
/// transaction does.
fn is_coroutine(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static COROUTINE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(value.get_type().is(COROUTINE.import(value.py(), "types", "CoroutineType")?))
}

impl Region {
    /// Runs a function as one transaction.
    fn run<'py>(
        &self,
        py: Python<'py>,
        call: &Call<'_, 'py>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match with_open(self.opened.number, |open| open.writes.then(|| open.attempt.mark())) {
            Some(Some(savepoint)) => return self.part(call, savepoint),
            Some(None) => {
                return Err(PyRuntimeError::new_err("no transaction runs inside of a snapshot"));
            }
            None => {}
        }
        let mut attempt = self.opened.begin(limits(timeout)?)?;
        loop {
            push(Open { region: self.opened.number, attempt, writes: true, joined: 0 });
            let result = call.call();
            let Some(open) = pop(self.opened.number) else { return Err(lost()) };
            let again = match result {
                // An error of the user's, judged on a consistent state, ends the transaction.
                Err(error) if open.attempt.is_open() => {
                    open.attempt.roll_back();
                    return Err(error);
                }
                Ok(value) if open.attempt.is_open() => match open.attempt.commit() {
                    Ok(_) => return Ok(value),
                    Err(again) => again,
                },
                // Interrupted, whatever the function has made of that. It goes after the attempt, since its finalizers
                // may use the region.
                result => match open.attempt.commit() {
                    Ok(_) => return result,
                    Err(again) => {
                        drop(result);
                        again
                    }
                },
            };
            attempt = wait(py, again)?;
        }
    }

    /// Runs a function as a part of the transaction that runs on this thread: if it raises, what it has written is undone.
    fn part<'py>(&self, call: &Call<'_, 'py>, savepoint: Savepoint) -> PyResult<Bound<'py, PyAny>> {
        let result = call.call();
        // An attempt that was interrupted is rolled back as a whole.
        with_open(self.opened.number, |open| match &result {
            Ok(_) => drop(open.attempt.keep(savepoint)),
            Err(_) if open.attempt.is_open() => drop(open.attempt.roll_back_to(savepoint)),
            Err(_) => {}
        });
        result
    }
}

#[cold]
fn lost() -> PyErr {
    PyRuntimeError::new_err("the transaction was ended by the function that it runs")
}

#[pymethods]
impl Region {
    /// The dict from which all else is found.
    #[getter]
    fn root(slf: &Bound<'_, Self>) -> Dict {
        Dict { region: slf.clone().unbind(), dictionary: slf.get().root }
    }

    /// Where the file is, or was.
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// A new dict of the region, made as `dict(...)` is. It is there for other processes when something that they find
    /// refers to it.
    #[pyo3(signature = (given=None, /, **named))]
    fn dict(
        slf: &Bound<'_, Self>,
        given: Option<&Bound<'_, PyAny>>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Dict> {
        Dict::made(slf.py(), slf, given, named)
    }

    /// Runs `function(*args, **kwargs)` as one transaction: everything that it reads belongs to one moment, and what it
    /// writes becomes visible at one moment, to all processes. It runs until it commits, so it should have no other
    /// effects. An exception rolls it back and passes. Inside of a transaction it is a part of that, which is undone
    /// alone if it raises.
    #[pyo3(signature = (function, /, *args, **kwargs))]
    fn atomically<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.run(py, &Call { function, args, kwargs }, None)
    }

    /// Makes a function of which each call is a transaction: `@region.atomic`, or `@region.atomic(timeout=seconds)`.
    #[pyo3(signature = (function=None, /, *, timeout=None))]
    fn atomic<'py>(
        slf: &Bound<'py, Self>,
        function: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        limits(timeout)?;
        slf.py().import("contempo._atomic")?.call_method1("atomic", (slf, function, timeout))
    }

    /// The same within `timeout` seconds.
    #[pyo3(signature = (timeout, function, args, kwargs, /))]
    fn _within<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.run(py, &Call { function, args, kwargs: Some(kwargs) }, timeout)
    }

    /// Gives this attempt up, and sleeps until something that it has read changes, by whatever process; then the function
    /// runs again. (The main thread looks at signals now and then, and may run it for nothing.)
    fn retry(&self) -> PyResult<()> {
        let asked = with_open(self.opened.number, |open| {
            let asked: Result<(), Interrupt> = transaction(&open.attempt).retry();
            open.writes && asked.is_err()
        });
        match asked {
            Some(true) => Err(errors::interrupted()),
            _ => Err(PyRuntimeError::new_err("retry() is for inside of a transaction")),
        }
    }

    /// Goes on if `condition` holds, else retries.
    fn check(&self, condition: bool) -> PyResult<()> {
        if condition { Ok(()) } else { self.retry() }
    }

    /// For a `with` block in which everything is as it is at one moment: what is read there never aborts, and nothing
    /// can be changed.
    fn snapshot(slf: &Bound<'_, Self>) -> Snapshot {
        Snapshot { region: slf.clone().unbind() }
    }

    /// Looks at every block of the region, and changes nothing: whether all is sound, and what there is.
    fn verify(&self, py: Python<'_>) -> PyResult<(bool, String)> {
        if with_open(self.opened.number, |_| ()).is_some() {
            return Err(PyRuntimeError::new_err("not inside of a transaction or snapshot"));
        }
        let report = detached(py, self.opened.here()?, |shared| shared.verify());
        Ok((report.is_sound(), report.to_string()))
    }

    /// Takes back what dead processes have left, and frees what no transaction needs any more. (Happens by itself, less
    /// thoroughly.)
    fn tidy(&self, py: Python<'_>) -> PyResult<()> {
        if with_open(self.opened.number, |_| ()).is_some() {
            return Err(PyRuntimeError::new_err("not inside of a transaction or snapshot"));
        }
        let tidy = |shared: Shared| shared.reap().and_then(|_| shared.collect());
        detached(py, self.opened.here()?, tidy).map_err(errors::told)
    }

    fn __repr__(&self) -> String {
        format!("contempo.Region({:?})", self.path)
    }

    fn __eq__(&self, other: &Bound<'_, Region>) -> bool {
        self.opened.number == other.get().opened.number
    }

    fn __hash__(&self) -> u64 {
        self.opened.number
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let make = py.import("contempo")?.getattr("_region_at")?;
        let arguments = (slf.get().path.clone(), slf.get().opened.number).into_pyobject(py)?;
        PyTuple::new(py, [make, arguments.into_any()])
    }

    #[getter]
    fn _number(&self) -> u64 {
        self.opened.number
    }
}

/// A block in which a region is as it is at one moment: `region.snapshot()`.
#[pyclass(module = "contempo", frozen)]
pub(crate) struct Snapshot {
    region: Py<Region>,
}

#[pymethods]
impl Snapshot {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let region = slf.get().region.get();
        let joined = with_open(region.opened.number, |open| {
            open.joined += usize::from(!open.writes);
            !open.writes
        });
        match joined {
            Some(true) => {}
            Some(false) => {
                return Err(PyRuntimeError::new_err("no snapshot begins inside of a transaction"));
            }
            None => {
                let attempt = region.opened.begin(Limits::default())?;
                push(Open { region: region.opened.number, attempt, writes: false, joined: 0 });
            }
        }
        Ok(slf)
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) -> PyResult<bool> {
        let number = self.region.get().opened.number;
        let is_outermost = with_open(number, |open| {
            let is_outermost = !open.writes && open.joined == 0;
            open.joined -= usize::from(!open.writes && !is_outermost);
            is_outermost
        });
        match is_outermost {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => return Err(PyRuntimeError::new_err("the snapshot is one of another thread")),
        }
        if let Some(Open { attempt, .. }) = pop(number) {
            // It has only read; what has interrupted it says why.
            let ended = attempt.commit().map(drop).or_else(|again| again.again().map(drop));
            ended.map_err(errors::ended)?;
        }
        Ok(false)
    }
}
