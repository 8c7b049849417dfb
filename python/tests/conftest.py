"""A region for each test, in memory if there is such a place."""

import itertools
import os
import tempfile
import threading

import pytest

import contempo

FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
_numbers = itertools.count()
# Only what hangs takes so long.
HANG = 300


@pytest.fixture
def place():
    path = os.path.join(FOLDER, f"contempo-pytest-{os.getpid()}-{next(_numbers)}")
    yield path
    try:
        contempo.remove(path)
    except FileNotFoundError:
        pass


@pytest.fixture
def region(place):
    region = contempo.open(place, create=True, size="64 MiB")
    yield region
    region.tidy()
    sound, report = region.verify()
    assert sound, report


@pytest.fixture
def root(region):
    return region.root


class Elsewhere(threading.Thread):
    """Runs a function on another thread, and gives out what it returns or raises."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.outcome = self.error = None
        self.start()

    def run(self):
        try:
            self.outcome = self.function(*self.args)
        except BaseException as error:
            self.error = error

    def result(self):
        self.join(HANG)
        assert not self.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.outcome


@pytest.fixture
def elsewhere():
    return Elsewhere
