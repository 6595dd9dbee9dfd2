"""tools/demo as users run it, smaller: the whole way of an update, refusals, and the recall, in a process of its own."""
import re
import shutil
import subprocess

import lib

LOOP_MS = 500 if lib.is_sanitized() else 10


def demo(*args):
    p = subprocess.run(["/usr/bin/python3", f"{lib.TOP}/tools/demo.py", "--build", lib.BUILD, *args], capture_output=True, text=True,
                       timeout=280 * lib.SLOW)
    assert p.returncode == 0, p.stdout + p.stderr
    return p.stdout


def longest_turn(out):
    return float(re.search(r"longest turn of the event loop: ([0-9.]+) ms", out)[1])


def test_the_demo_does_what_it_shows_and_never_blocks():
    out = demo("--nodes", "8")
    told = ["fetched, judged and cached", "every node runs the new image: 8 of 8", "the tampered image is refused", "the downgrade is refused",
            "the foreign signature is refused", "no node was offered any of them", "the update is recalled", "the audit log verifies"]
    for line in told:
        assert re.search(rf"  ok  {line}", out), f"{line!r} is not in\n{out}"
    longest = [longest_turn(out)]
    while longest[-1] >= LOOP_MS and len(longest) < 3:  # a busy machine may take the processor away; not each time
        longest.append(longest_turn(demo("--nodes", "8")))
    print(f"\nlongest turn of the event loop: {longest} ms")
    assert longest[-1] < LOOP_MS


def test_the_demo_says_what_is_wrong_and_leaves_nothing_running():
    p = subprocess.run(["/usr/bin/python3", f"{lib.TOP}/tools/demo.py", "--build", "/nonexistent"], capture_output=True, text=True, timeout=60)
    assert p.returncode == 1 and "/nonexistent/src/app/dormoused" in p.stdout and "Traceback" not in p.stderr
    folder = re.search(r"logs are in (\S+)", p.stdout)[1]
    assert subprocess.run(["pgrep", "-f", folder], capture_output=True).returncode == 1
    shutil.rmtree(folder)
