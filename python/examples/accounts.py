"""Processes move money between accounts, while another one looks at the total; one is killed in the middle.

    python examples/accounts.py [PROCESSES] [TRANSFERS]
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile

import contempo

ACCOUNTS, OPENING = 100, 1_000


class Bank:
    """Accounts in a region. An object of this class is a handle, and can be sent to other processes."""

    def __init__(self, region):
        self.region = region
        self.accounts = region.root.setdefault("accounts", region.dict())

    def open_accounts(self):
        self.region.atomically(self.accounts.update, {f"account {n}": OPENING for n in range(ACCOUNTS)})

    def transfer(self, a, b, amount):
        """One transaction: all of it happens, or nothing."""
        self.region.atomically(self._transfer, a, b, amount)

    def _transfer(self, a, b, amount):
        self.region.check(self.accounts[a] >= amount)  # sleeps until there is enough
        self.accounts[a] -= amount
        self.accounts[b] += amount

    def total(self):
        """The sum at one moment. Never aborts, and holds up no writer."""
        with self.region.snapshot():
            return sum(self.accounts.values())


def work(bank, transfers, ready):
    names = bank.accounts.keys()
    ready.set()
    for _ in range(transfers):
        a, b = random.sample(names, 2)
        bank.transfer(a, b, random.randint(1, 5))


def main(processes=4, transfers=5_000):
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    path = os.path.join(folder, f"contempo-accounts-{os.getpid()}")
    region = contempo.open(path, create=True, size="64 MiB")
    try:
        bank = Bank(region)
        bank.open_accounts()
        spawn = multiprocessing.get_context("spawn")
        ready = [spawn.Event() for _ in range(processes + 1)]
        workers = [spawn.Process(target=work, args=(bank, transfers, it)) for it in ready[1:]]
        victim = spawn.Process(target=work, args=(bank, 1_000_000_000, ready[0]))
        for process in [victim, *workers]:
            process.start()
        ready[0].wait()
        looks = 0
        while any(process.is_alive() for process in workers):
            assert bank.total() == ACCOUNTS * OPENING
            looks += 1
            if looks == 20:
                os.kill(victim.pid, signal.SIGKILL)
        for process in workers:
            process.join()
            assert process.exitcode == 0, process.exitcode
        victim.kill()
        victim.join()
        region.tidy()
        sound, report = region.verify()
        assert sound, report
        print(f"{processes} processes, {processes * transfers} transfers, {looks} looks at the total: {bank.total()}")
    finally:
        contempo.remove(path)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
