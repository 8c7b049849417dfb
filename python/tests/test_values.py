"""What may be shared, and how it comes back."""

import enum
import math

import pytest

import contempo

INTS = [0] + [
    sign * (2**bits) + near
    for bits in (0, 6, 7, 8, 15, 31, 47, 55, 56, 62, 63, 64, 71, 72, 127, 128, 1000)
    for sign in (1, -1)
    for near in (-1, 0, 1)
]
FLOATS = [0.0, -0.0, 1.0, 0.1, -1e308, 5e-324, math.inf, -math.inf, math.nan, float(2**53)]
TEXTS = ["", "a", "Grüße", "🦀", "\0", "\ud800", "a\udfff🦀", "x" * 1_023, "x" * 1_024, "ß" * 20_000]
BYTES = [b"", b"\0", bytes(range(256)), b"y" * 32_456, b"y" * 1_000_000]
TUPLES = [(), (1,), ((),), (None, True, (1.5, "a", (b"b", -1)), ""), tuple(range(1_000)), ("z" * 50_000,) * 3]


def is_the_same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(is_the_same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return one == other


@pytest.mark.parametrize("value", [None, True, False, *INTS, *FLOATS, *TEXTS, *BYTES, *TUPLES], ids=lambda it: repr(it)[:30])
def test_values_come_back(root, value):
    root["value"] = value
    assert is_the_same(root["value"], value)
    root["value"] = (value, value)
    assert is_the_same(root["value"], (value, value))
    root["value"] = None


@pytest.mark.parametrize("key", [None, *INTS, *FLOATS[:-2], *TEXTS[:-1], *BYTES[:2], (), ((1, "a"), (None, b"")), (1.0, (True,))], ids=lambda it: repr(it)[:30])
def test_keys_are_those_of_a_dict(root, key):
    plain = {}
    for one in (key, 1, True, 1.0, 0, "1", b"1", None, (1,), (True,), ((1.0,),)):
        plain[one] = root[one] = f"value of {one!r}"
    assert root == plain and list(root) == list(plain)
    assert all(one in root and root[one] == plain[one] for one in plain)


@pytest.mark.parametrize("key", ["k" * 20_000, b"k" * 20_000, tuple(range(5_000))], ids=("str", "bytes", "tuple"))
def test_a_key_that_is_too_long_is_an_error(root, key):
    with pytest.raises(contempo.RegionFull):
        root[key] = 1
    root["short"] = 1
    assert root == {"short": 1}


class Text(str):
    pass


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize("value", [[], {}, set(), object(), Text("a"), Number.ONE, 1j, bytearray(b"a"), (1, [2]), range(3)], ids=repr)
def test_what_cannot_be_shared_is_told(root, value):
    with pytest.raises(TypeError, match="may be shared; not"):
        root["value"] = value
    with pytest.raises(TypeError, match="a key may be"):
        root[value] = 1
    assert len(root) == 0


def test_keys_that_no_dict_finds_again_are_refused(root):
    with pytest.raises(ValueError, match="nan"):
        root[math.nan] = 1
    with pytest.raises(TypeError, match="a key may be"):
        root[root] = 1


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value,)
    return value


def test_tuples_have_a_depth(root):
    root["deep"] = nested(100)
    assert root["deep"] == nested(100)
    with pytest.raises(RecursionError):
        root["deep"] = nested(101)


def test_references_in_tuples_keep_their_places(region, root):
    one, two = region.dict(name="one"), region.dict(name="two")
    root["both"] = (one, 1, (two, one), "end")
    first, number, (second, again), end = root["both"]
    assert (number, end) == (1, "end")
    assert first.same(one) and again.same(one) and second.same(two)


def test_an_object_of_another_region_is_refused(root, place):
    other = contempo.open(place + "-other", create=True)
    try:
        for value in (other.root, (1, other.dict())):
            with pytest.raises(ValueError, match="another region"):
                root["other"] = value
    finally:
        contempo.remove(place + "-other")
