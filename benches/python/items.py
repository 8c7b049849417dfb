"""Single operations on a dict of a region, beside a plain dict: CPU nanoseconds, the best of several rounds in turns.

    python/.venv/bin/python benches/python/items.py [ROUNDS]
"""

import os
import sys
import time

import contempo

COUNT = 2_000
path = f"/dev/shm/contempo-items-{os.getpid()}"
region = contempo.open(path, create=True, size="64 MiB")
shared = region.dict({f"account {n}": n for n in range(1_000)})
plain = shared.to_dict()
keys = [f"account {n * 7 % 1_000}" for n in range(COUNT)]


def loop(_):
    for _ in keys:
        pass


def read(d):
    for key in keys:
        d[key]


def write(d):
    for key in keys:
        d[key] = 5


def in_snapshot(d):
    with region.snapshot():
        read(d)


def tens(d):
    def ten(at):
        for key in keys[at : at + 10]:
            d[key] = 5

    for at in range(0, COUNT, 10):
        region.atomically(ten, at)


def nothing():
    pass


def empty(_):
    for _ in keys:
        region.atomically(nothing)


def move(d, a, b):
    d[a] -= 1
    d[b] += 1


def transfers(d):
    for at in range(COUNT - 1):
        region.atomically(move, d, keys[at], keys[at + 1])


def plain_transfers(d):
    for at in range(COUNT - 1):
        move(d, keys[at], keys[at + 1])


ROWS = [
    ("empty loop", loop, plain),
    ("plain dict: read", read, plain),
    ("read alone", read, shared),
    ("read in a snapshot", in_snapshot, shared),
    ("plain dict: write", write, plain),
    ("write alone", write, shared),
    ("write in a transaction of 10", tens, shared),
    ("empty transaction", empty, None),
    ("plain dict: transfer", plain_transfers, plain),
    ("transfer", transfers, shared),
]

best = {}
try:
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 30):
        for name, work, on in ROWS:
            begin = time.process_time_ns()
            work(on)
            took = (time.process_time_ns() - begin) / COUNT
            best[name] = min(best.get(name, took), took)
finally:
    contempo.remove(path)
for name, took in best.items():
    print(f"{name:32}{took:8.0f} ns")
