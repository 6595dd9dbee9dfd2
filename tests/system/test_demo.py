"""tools/demo as users run it, smaller: the whole way of an update, refusals, and the recall, in a process of its own."""
import re
import subprocess

import lib


def demo(*args):
    p = subprocess.run(["/usr/bin/python3", f"{lib.TOP}/tools/demo.py", "--build", lib.BUILD, *args], capture_output=True, text=True,
                       timeout=280 * lib.SLOW)
    assert p.returncode == 0, p.stdout + p.stderr
    return p.stdout


def test_the_demo_does_what_it_shows():
    out = demo("--nodes", "8")
    told = ["fetched, judged and cached", "every node runs the new image: 8 of 8", "the tampered image is refused", "the downgrade is refused",
            "the foreign signature is refused", "no node was offered any of them", "the update is recalled", "the audit log verifies"]
    for line in told:
        assert re.search(rf"  ok  {line}", out), f"{line!r} is not in\n{out}"
    longest = float(re.search(r"longest turn of the event loop: ([0-9.]+) ms", out)[1])
    print(f"\nlongest turn of the event loop: {longest} ms")
    assert longest < (10 if not lib.is_sanitized() else 500)


def test_the_demo_on_a_bad_line():
    assert "every node runs the new image: 4 of 4" in demo("--nodes", "4", "--sleepers", "1", "--loss", "2")


def test_the_demo_says_what_is_wrong():
    p = subprocess.run(["/usr/bin/python3", f"{lib.TOP}/tools/demo.py", "--build", "/nonexistent"], capture_output=True, text=True, timeout=60)
    assert p.returncode != 0
