"""Several processes on one region: spawned, forked, killed."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import subprocess
import sys

import pytest

import contempo
from conftest import HANG

SPAWN = multiprocessing.get_context("spawn")
HERE = pathlib.Path(__file__).parent


def add(root, count):
    region = contempo.open(root["path"])

    def one():
        root["n"] += 1

    for _ in range(count):
        region.atomically(one)
    return os.getpid()


def test_processes_lose_nothing(region, root, place):
    root.update(n=0, path=place)
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        processes = set(pool.map(add, [root] * 3, [200] * 3))
    assert root["n"] == 600 and os.getpid() not in processes


def test_what_another_process_makes_is_there(region, root, place):
    text = "import sys, contempo; r = contempo.open(sys.argv[1]); r.root['made'] = r.dict(by='another', long='x' * 100_000)"
    subprocess.run([sys.executable, "-c", text, place], check=True, timeout=HANG)
    assert root["made"] == {"by": "another", "long": "x" * 100_000}


def move_for_ever(region, accounts, ready):
    n = os.getpid()

    def move(a, b):
        amount = accounts[a] // 3
        accounts[a] -= amount
        accounts[b] += amount

    while True:
        n = n * 1_103_515_245 + 12_345
        region.atomically(move, (n >> 16) % 20, (n >> 24) % 20)
        ready.set()


def test_the_killed_harm_no_other_process(region, root):
    accounts = root.setdefault("accounts", region.dict())
    accounts.update({n: 1_000 for n in range(20)})
    for _ in range(5):
        ready = [SPAWN.Event() for _ in range(2)]
        workers = [SPAWN.Process(target=move_for_ever, args=(region, accounts, it)) for it in ready]
        for worker in workers:
            worker.start()
        assert all(it.wait(HANG) for it in ready)
        for _ in range(20):
            with region.snapshot():
                assert sum(accounts.values()) == 20_000
        for worker in workers:
            worker.kill()
            worker.join(HANG)
            assert worker.exitcode == -9
        accounts[0] += 0
        assert sum(accounts.values()) == 20_000


def in_child(function):
    """The exit code of a forked child that runs `function`: 0, if that returns True."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if function() is True else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("removed", (False, True))
def test_a_forked_child_goes_on(region, root, place, removed):
    root["a"], root["inner"] = 1, region.dict(b=2)
    inner = root["inner"]
    if removed:
        contempo.remove(place)

    def child():
        region.atomically(lambda: root.update(child=root["a"] + inner["b"]))
        with region.snapshot():
            assert root["child"] == 3
        assert in_child(lambda: inner.update(grandchild=len(root)) is None) == 0
        return region.verify()[0]

    assert in_child(child) == 0
    assert root == {"a": 1, "inner": {"b": 2, "grandchild": 3}, "child": 3}


def test_pools_of_forked_processes(region, root, place):
    root.update(n=0, path=place)
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
        processes = set(pool.map(add, [root] * 3, [200] * 3))
    assert root["n"] == 600 and os.getpid() not in processes


def test_a_child_that_was_forked_inside_of_a_transaction(region, root):
    root["a"] = 1

    def forks():
        root["a"] = 2

        def child():
            with pytest.raises(contempo.Conflict):
                root["a"] = 3
            return True

        return in_child(child)

    def forks_and_goes_on():
        root["b"] = 2
        if os.fork() == 0:
            return "child"

    assert region.atomically(forks) == 0
    assert root == {"a": 2}
    # The child returns from the function, and commits nothing.
    try:
        outcome = region.atomically(forks_and_goes_on)
    except contempo.Forked:
        os._exit(7)
    except BaseException:
        os._exit(8)
    if outcome == "child":
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
    assert root == {"a": 2, "b": 2}


def test_regions_and_what_is_none(place, tmp_path):
    with pytest.raises(FileNotFoundError):
        contempo.open(place)
    with pytest.raises(ValueError, match="size is"):
        contempo.open(place, create=True, size="much")
    with pytest.raises(ValueError):
        contempo.open(place, create=True, size="1 KiB")
    text = tmp_path / "text"
    text.write_text("no region " * 1_000)
    with pytest.raises(contempo.UnusableRegion):
        contempo.open(text)
    with pytest.raises(contempo.UnusableRegion):
        contempo.remove(text)
    region = contempo.open(place, create=True, size=64 << 20)
    assert region == contempo.open(pathlib.Path(place)) and region.path == pathlib.Path(place)
    assert repr(region) == f'contempo.Region("{place}")'
    with pytest.raises(FileNotFoundError):
        contempo.remove(place + "-none")


def test_the_example_runs():
    example = HERE.parent / "examples" / "accounts.py"
    done = subprocess.run([sys.executable, example, "2", "200"], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 processes, 400 transfers") and done.stdout.endswith(": 100000\n")


def test_the_readme_runs(place):
    text = (HERE.parent / "README.md").read_text()
    block = text.split("```python\n")[1].split("```")[0].replace("/dev/shm/app", place)
    assert place in block
    code = compile(block, "README.md", "exec")
    found = {}
    exec(code, found)
    assert found["accounts"] == {"alice": 70, "bob": 30}
