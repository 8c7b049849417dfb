"""Waiting for changes: threads, time-outs, signals."""

import signal
import subprocess
import sys
import threading

import pytest

from conftest import HANG


def test_a_thread_waits_without_the_gil(region, root, elsewhere):
    root["inbox"] = None
    asked = threading.Event()

    def take():
        found = root["inbox"]
        asked.set()
        region.check(found is not None)
        root["inbox"] = None
        return found

    waits = elsewhere(region.atomically, take)
    assert asked.wait(HANG)
    root["inbox"] = "mail"
    assert waits.result() == "mail"
    assert root["inbox"] is None


def test_the_main_thread_waits_too(region, root, elsewhere):
    root["inbox"] = None
    asked = threading.Event()

    def take():
        asked.set()
        region.check(root["inbox"] is not None)
        return root["inbox"]

    sends = elsewhere(lambda: asked.wait(HANG) and root.update(inbox="mail"))
    assert region.atomically(take) == "mail"
    sends.result()


@pytest.mark.parametrize("on", ("main", "another"))
def test_a_time_out_ends_it(region, root, elsewhere, on):
    @region.atomic(timeout=0.02)
    def waits():
        root["written"] = True
        region.check(root.get("never", False))

    with pytest.raises(TimeoutError):
        waits() if on == "main" else elsewhere(waits).result()
    assert "written" not in root


WAITS = """
import sys, contempo
region = contempo.open(sys.argv[1])
def wait():
    found = region.root.get("never")
    print("waiting", flush=True)
    region.check(found is not None)
try:
    region.atomically(wait)
except KeyboardInterrupt:
    region.root["interrupted"] = True
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_wait(region, root, place):
    child = subprocess.Popen([sys.executable, "-c", WAITS, place], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=HANG)
    finally:
        child.kill()
        child.wait()
    assert out.splitlines()[-1] == "interrupted" and child.returncode == 0
    assert root == {"interrupted": True}


def test_ping_pong(region, root, elsewhere):
    root["turn"] = 0

    def play(me):
        def move():
            turn = root["turn"]
            region.check(turn % 2 == me)
            root["turn"] = turn + 1

        for _ in range(100):
            region.atomically(move)

    players = [elsewhere(play, me) for me in (0, 1)]
    for player in players:
        player.result()
    assert root["turn"] == 200
