"""The stubs say what the package has, and users' programs are checked by them."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

PROGRAM = """
import contempo
region = contempo.open("/nowhere", create=True, size="1 GiB")
@region.atomic
def add(key: str, amount: int) -> int:
    region.check(key in region.root)
    region.root[key] += amount
    return amount
@region.atomic(timeout=1.5)
def nothing() -> None: ...
done: int = add("a", 2) + region.atomically(add, "b", amount=3)
nothing()
with region.snapshot():
    total: dict[str, int] = region.dict(a=1).to_dict()
try:
    add("a", 1)
except contempo.RegionFull as error:
    print(error)
WRONG
"""


def checked(tmp_path, last):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("WRONG", last))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_programs_are_checked(tmp_path):
    right = checked(tmp_path, "")
    assert right.returncode == 0, right.stdout + right.stderr
    for wrong in ('add("a", "b")', "region.root.none()", "contempo.open(1)", "region.atomically(add)"):
        assert checked(tmp_path, wrong).returncode == 1, wrong


def test_the_stubs_are_complete(tmp_path):
    # What mypy cannot know of a class made in Rust, or says otherwise by overloads.
    known = tmp_path / "known"
    known.write_text("contempo\\.Dict\ncontempo\\.Region\ncontempo\\.Snapshot\ncontempo\\.Dict\\.(get|update)\n"
                     "contempo\\.Region\\.atomic\ncontempo\\._.*\n")
    command = [sys.executable, "-m", "mypy.stubtest", "contempo", "--allowlist", str(known), "--ignore-unused-allowlist"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
