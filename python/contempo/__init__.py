"""Shared objects between Python processes, in transactions.

    import contempo

    region = contempo.open("/dev/shm/app", create=True, size="1 GiB")
    accounts = region.root.setdefault("accounts", region.dict())

    @region.atomic                      # a pure function, run until it commits
    def transfer(a, b, amount):
        if accounts[a] < amount:
            region.retry()              # sleep until it changes
        accounts[a] -= amount
        accounts[b] += amount

What may be shared: None, bool, int, float, str, bytes, tuples of these, and dicts of the region. A process may die at
any instruction and harms no other.
"""

import os as _os
import re as _re
from collections.abc import MutableMapping as _MutableMapping

from ._contempo import (
    Conflict,
    Damaged,
    Dict,
    Error,
    Forked,
    Region,
    RegionFull,
    Snapshot,
    StaleReference,
    UnusableRegion,
    _open,
    remove,
)

__all__ = [
    "Conflict",
    "Damaged",
    "Dict",
    "Error",
    "Forked",
    "Region",
    "RegionFull",
    "Snapshot",
    "StaleReference",
    "UnusableRegion",
    "open",
    "remove",
]

_MutableMapping.register(Dict)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def _bytes_of(size):
    """The number of bytes that `size` says: a number, or a text such as "1 GiB"."""
    if not isinstance(size, str):
        return int(size)
    found = _re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?)B?\s*", size.upper())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f'size is a number of bytes, or a text such as "1 GiB", not {size!r}')
    return int(float(found[1]) * _UNITS[found[2]])


def open(path, *, create=False, size=None):
    """Opens the region at `path`, a file, mostly in /dev/shm; or makes it, if there is none and `create` is true.

    `size` is how large a new one may become, at most 64 GiB: a number of bytes, or a text such as "1 GiB"; 4 GiB, if it
    is not said. One that is there keeps its own. Several processes may do so at the same time: all have the same region.
    """
    return _open(_os.fspath(path), bool(create), None if size is None else _bytes_of(size))


def _region_at(path, number):
    """The region of a pickle."""
    region = _open(path, False, None)
    if region._number != number:
        raise StaleReference(f"the region at {path} is another one than that which was pickled")
    return region


def _dict_at(region, handle, number):
    """The dict of a pickle."""
    return Dict._at(region, handle, number)
