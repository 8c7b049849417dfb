"""The dict of a region beside that of Python."""

import collections.abc
import pickle
import random

import pytest

import contempo

KEYS = [None, *range(-3, 40), "a", "b", b"a", (1, "x"), 0.5]
VALUES = [None, True, 7, "text", "long " * 400, b"b" * 40_000, (1, (2.5, "x"))]


def outcome(function):
    """What a call returns or raises."""
    try:
        return function()
    except (KeyError, TypeError) as error:
        return type(error), error.args


def step(random_of):
    """A random operation, as a function of a dict."""
    key, value = random_of.choice(KEYS), random_of.choice(VALUES)
    few = {random_of.choice(KEYS): random_of.choice(VALUES) for _ in range(3)}
    return random_of.choices(
        [
            lambda d: d.__setitem__(key, value),
            lambda d: d.__delitem__(key),
            lambda d: d[key],
            lambda d: d.get(key),
            lambda d: d.get(key, value),
            lambda d: d.pop(key),
            lambda d: d.pop(key, value),
            lambda d: d.popitem(),
            lambda d: d.setdefault(key, value),
            lambda d: d.update(few),
            lambda d: d.update(list(few.items()), named=value),
            lambda d: key in d,
            lambda d: len(d),
            lambda d: list(d),
            lambda d: list(reversed(d)),
            lambda d: list(d.keys()),
            lambda d: list(d.values()),
            lambda d: list(d.items()),
            lambda d: bool(d),
            lambda d: d == few,
            lambda d: d.clear(),
        ],
        weights=[20, 10, 5, 3, 3, 5, 5, 3, 5, 5, 3, 5, 3, 3, 3, 3, 3, 3, 3, 3, 1],
    )[0]


@pytest.mark.parametrize("seed", range(20))
def test_it_does_what_a_dict_does(region, root, seed):
    random_of, plain = random.Random(seed), {}
    for _ in range(300):
        operation = step(random_of)
        assert outcome(lambda: operation(root)) == outcome(lambda: operation(plain))
        if random_of.random() < 0.1:
            assert root == plain and list(root.items()) == list(plain.items())
    # And inside of transactions, of which some are rolled back.
    for _ in range(30):
        operations, fails = [step(random_of) for _ in range(10)], random_of.random() < 0.3
        after = dict(plain)

        def program():
            for operation in operations:
                assert outcome(lambda: operation(root)) == outcome(lambda: operation(after))
            assert list(root.items()) == list(after.items())
            if fails:
                raise ZeroDivisionError

        if fails:
            with pytest.raises(ZeroDivisionError):
                region.atomically(program)
        else:
            region.atomically(program)
            plain = after
        assert list(root.items()) == list(plain.items())


def test_it_is_a_mutable_mapping(root):
    assert isinstance(root, collections.abc.MutableMapping)
    root |= {"a": 1}
    assert {**root} == {"a": 1}
    with pytest.raises(TypeError, match="unhashable"):
        hash(root)
    with pytest.raises(TypeError):
        root.pop("a", 1, 2)


def test_names_and_cycles(region, root):
    inner = region.dict({"x": 1}, y=2)
    root["inner"] = inner
    inner["outer"] = root
    inner["itself"] = inner
    assert root["inner"]["outer"]["inner"]["itself"]["x"] == 1
    assert root["inner"].same(inner) and not root.same(inner)
    assert repr(root) == "Dict({'inner': Dict({'x': 1, 'y': 2, 'outer': Dict({...}), 'itself': Dict({...})})})"
    assert root == root["inner"]["outer"]
    assert region.dict() == region.dict() == {} and region.dict(a=1) != region.dict(a=2)


def test_what_was_freed_is_stale(region, root):
    inner = region.dict(a=1)
    root["inner"] = inner
    inner.free()
    for use in (lambda: inner["a"], lambda: len(root["inner"]), lambda: inner.update(a=2), inner.free):
        with pytest.raises(contempo.StaleReference):
            use()
    with pytest.raises(contempo.StaleReference):
        region.atomically(lambda: root["inner"]["a"])
    with pytest.raises(contempo.StaleReference):
        with region.snapshot():
            root["inner"]["a"]
    with pytest.raises(contempo.Error):
        root.free()
    del root["inner"]


def test_handles_pickle(region, root, place):
    inner = region.dict(a=1)
    again, region_again = pickle.loads(pickle.dumps((inner, region)))
    assert again.same(inner) and region_again == region and hash(region_again) == hash(region)
    again["a"] = 2
    assert inner["a"] == 2
    saved = pickle.dumps(region)
    contempo.remove(place)
    contempo.open(place, create=True)
    with pytest.raises(contempo.StaleReference):
        pickle.loads(saved)


def test_a_full_region_can_be_emptied(place):
    region = contempo.open(place, create=True, size="4 MiB")
    root = region.root
    with pytest.raises(contempo.RegionFull):
        for n in range(100_000):
            root[n] = b"x" * 500
    count = len(root)
    assert count > 1_000
    with pytest.raises(contempo.RegionFull):
        root["huge"] = b"x" * 10_000_000
    for n in range(count):
        del root[n]
    assert len(root) == 0
    region.tidy()
    for n in range(count // 2):
        root[n] = b"y" * 1_000
        del root[n]
    assert region.verify()[0]
