"""A region whose bytes were changed behind its back: errors, and no crash of the interpreter."""

import os
import random
import subprocess
import sys

import pytest

import contempo
from conftest import HANG

USES = """
import sys, contempo
try:
    region = contempo.open(sys.argv[1])
except (contempo.Error, OSError):
    sys.exit(0)
root = region.root
uses = [
    lambda: repr(root), lambda: len(root), lambda: list(root.items()), lambda: root["texts"],
    lambda: root.update({n: n for n in range(30)}), lambda: root.pop("tuple", None), lambda: root["inner"]["long"],
    lambda: region.atomically(lambda: [root.get(n) for n in range(100)]), lambda: root["inner"].clear(),
    lambda: root["inner"].free(), lambda: root.popitem(), root.clear, lambda: region.verify(),
]
for use in uses * 2:
    try:
        use()
    except (contempo.Error, KeyError, TypeError, AttributeError, ValueError):
        pass
print("done")
"""


def filled(place):
    region = contempo.open(place, create=True, size="8 MiB")
    root = region.root
    root["inner"] = region.dict(long="long" * 30_000, short=1.5, none=None)
    root["inner"]["outer"] = root
    root["tuple"] = (1, (2, ("x" * 300, root["inner"])), 2**100, b"bytes")
    root["texts"] = ("ß" * 500, "\ud800")
    root.update({n: n * "a" for n in range(100)})


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_crash_no_interpreter(place, seed):
    change = random.Random(seed)
    filled(place)
    with open(place, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        # What is in use, so that most changes are to something.
        file.seek(0)
        used = [at for at, byte in enumerate(file.read()) if byte and at > 8_192]
        for _ in range(change.choice([1, 10, 100, 1_000])):
            file.seek(change.choice(used) if change.random() < 0.9 else change.randrange(size))
            file.write(change.choice([b"\0", b"\xff", bytes([change.randrange(256)]), change.randbytes(8)]))
    done = subprocess.run([sys.executable, "-c", USES, place], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, (done.returncode, done.stderr)
