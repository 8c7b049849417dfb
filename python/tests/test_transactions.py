"""Transactions, snapshots, and what comes out of them."""

import gc
import threading

import pytest

import contempo


def test_an_exception_rolls_back_and_passes(region, root):
    root["a"] = 1
    error = LookupError("mine")

    def fails():
        root["a"] = 2
        root["b"] = 3
        raise error

    with pytest.raises(LookupError) as raised:
        region.atomically(fails)
    assert raised.value is error
    assert root == {"a": 1}


def test_arguments_and_values_pass(region, root):
    @region.atomic
    def move(a, *rest, to="c", **named):
        "Moves."
        root[to] = a
        return a, rest, to, named

    assert move(1, 2, to="d", timeout=4) == (1, (2,), "d", {"timeout": 4})
    assert (move.__name__, move.__doc__, root["d"]) == ("move", "Moves.", 1)
    assert region.atomically(lambda *a, **k: (a, k), 1, function=2) == ((1,), {"function": 2})


def test_a_conflict_runs_the_function_again(region, root, elsewhere):
    root["n"], runs = 0, []

    def add():
        seen = root["n"]
        runs.append(seen)
        if len(runs) == 1:
            elsewhere(root.__setitem__, "n", 10).result()
        root["n"] = seen + 1

    region.atomically(add)
    assert runs == [0, 10] and root["n"] == 11


def test_a_swallowed_conflict_does_not_commit(region, root, elsewhere):
    root["n"], runs, swallowed = 0, [], []

    def add():
        seen = root["n"]
        runs.append(seen)
        if len(runs) == 1:
            elsewhere(root.__setitem__, "n", 10).result()
        for key in ("n", "m", "o"):
            try:
                root[key] = seen + 1
            except:  # noqa: E722
                swallowed.append(key)

    region.atomically(add)
    assert swallowed == ["n", "m", "o"], "what comes after it fails as well"
    assert runs == [0, 10] and root == {"n": 11, "m": 11, "o": 11}


def test_a_conflict_is_none_of_users_errors(region, root, elsewhere):
    assert not issubclass(contempo.Conflict, Exception)
    root["n"], runs = 0, []

    def add():
        runs.append(root["n"])
        if len(runs) == 1:
            elsewhere(root.__setitem__, "n", 10).result()
        try:
            root["n"] = runs[-1] + 1
        except Exception:
            pytest.fail("it was caught")
        except BaseException:
            raise KeyError("made of it") from None

    region.atomically(add)
    assert runs == [0, 10] and root["n"] == 11


def test_a_part_that_raises_is_undone_alone(region, root):
    @region.atomic
    def part(n, fails=False):
        root["last"] = n
        root[n] = n
        if fails:
            raise ValueError(n)

    @region.atomic
    def whole():
        part(1)
        with pytest.raises(ValueError):
            part(2, fails=True)
        assert root["last"] == 1 and 2 not in root
        part(3)

    whole()
    assert root == {"last": 3, 1: 1, 3: 3}


def test_what_is_made_in_a_failed_transaction_is_gone(region, root):
    made = []

    def fails():
        made.append(region.dict(a=1))
        raise ValueError

    with pytest.raises(ValueError):
        region.atomically(fails)
    with pytest.raises(contempo.StaleReference):
        made[0]["a"]


def test_nothing_asynchronous(region, root):
    async def coroutine():
        root["a"] = 1

    with pytest.raises(TypeError, match="async"):
        region.atomic(coroutine)
    with pytest.raises(TypeError, match="async"):
        region.atomically(coroutine)
    with pytest.raises(TypeError, match="async"):
        region.atomically(lambda: [root.__setitem__("a", 1), coroutine()][1])
    assert "a" not in root


def test_misuse_is_told(region, root):
    with pytest.raises(RuntimeError, match="inside of a transaction"):
        region.retry()
    with pytest.raises(RuntimeError, match="for ever"):
        region.atomically(region.retry)
    with pytest.raises(ValueError):
        region.atomic(timeout=-1)

    def tidies():
        region.tidy()

    with pytest.raises(RuntimeError):
        region.atomically(tidies)
    with pytest.raises(RuntimeError):
        with region.snapshot():
            root["a"] = 1
    with pytest.raises(RuntimeError):
        with region.snapshot():
            region.atomically(lambda: None)
    with pytest.raises(RuntimeError):
        with region.snapshot():
            region.retry()

    def looks():
        with region.snapshot():
            pass

    with pytest.raises(RuntimeError):
        region.atomically(looks)
    root["a"] = 2
    assert root == {"a": 2}


def test_a_snapshot_is_one_moment(region, root, elsewhere):
    root.update(a=1, b=1)
    with region.snapshot():
        assert root["a"] == 1
        elsewhere(root.update, {"a": 2, "b": 2, "c": 2}).result()
        assert root["b"] == 1 and root == {"a": 1, "b": 1}
        with region.snapshot():
            assert root["b"] == 1
        assert root["a"] == 1
    assert root == {"a": 2, "b": 2, "c": 2}


def test_an_error_in_a_snapshot_passes(region, root):
    with pytest.raises(KeyError):
        with region.snapshot():
            root["none"]
    root["a"] = 1


def test_threads_lose_nothing(region, root):
    root["n"] = 0

    @region.atomic
    def add():
        root["n"] += 1

    threads = [threading.Thread(target=lambda: [add() for _ in range(300)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert root["n"] == 1_200


def test_finalizers_may_use_the_region(region, root):
    root["big"] = tuple(range(2_000))
    root["seen"] = 0
    errors = []

    def look(*_):
        try:
            assert root["seen"] >= 0 and root.get("none") is None
        except BaseException as error:
            errors.append(error)

    before = gc.get_threshold()
    gc.callbacks.append(look)
    gc.set_threshold(5)
    try:
        for _ in range(20):
            assert len(root["big"]) == 2_000 and root.to_dict()["seen"] == 0
            region.atomically(lambda: root.update(big=tuple(range(2_000))))
            with region.snapshot():
                assert [key for key, _ in root.items()] == ["big", "seen"]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(look)
    assert not errors


def test_two_regions_at_a_time(region, root, place):
    other = contempo.open(place + "-other", create=True)
    try:

        def both():
            root["a"] = other.root.setdefault("a", 1)
            other.atomically(lambda: other.root.update(a=2))
            root["b"] = other.root["a"]

        region.atomically(both)
        assert (root, other.root) == ({"a": 1, "b": 2}, {"a": 2})
    finally:
        contempo.remove(place + "-other")
