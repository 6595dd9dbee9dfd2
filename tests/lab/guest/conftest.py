"""What the groups share. Runs inside the lab's virtual machine, as root; tests/system/lib.py does the rest of the work."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.environ["LAB_TOP"], "tests", "system"))
import lib  # noqa: E402

if "LAB_VM" not in os.environ:
    sys.exit("these tests change the machine that they run on: tests/lab/run starts them in a virtual one")


class Api(lib.Daemon):
    """A gateway that is not ours to start: its API alone."""

    def __init__(self, sock):
        self.sock = sock

    def check_alive(self):
        pass


def figures(text):
    """A line for people, shown at the end of a run that passed too."""
    with open(os.path.join(os.environ["LAB_OUT"], "figures"), "a") as f:
        f.write(text + "\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.call_report = report
