"""dormouse-node refuses a wrong command line with exit 2 and says what would be right. Argument: dormouse-node."""
import os
import subprocess
import sys
import tempfile

NODE = os.path.abspath(sys.argv[1])
failures = []
BASE = ["--gateway", "coap://127.0.0.1:1", "--ep", "n", "--state", "s"]
WRONG = [
    ([], "usage:"), (BASE, "--anchor-key"), (["--nonsense"], ""), (BASE + ["extra"], "usage:"),
    (BASE + ["--non-secure", "--count", "0"], "--count wants a number from 1"), (BASE + ["--non-secure", "--szx", "7"], "--szx wants"),
    (BASE + ["--non-secure", "--loss", "1.5"], "--loss wants a fraction"), (BASE + ["--non-secure", "--crash", "x"], "--crash wants"),
    (BASE + ["--psk-hex", "00"], "16 to 64 bytes"), (BASE + ["--mac-key-hex", "zz"], "16 to 64 bytes"),
    (BASE + ["--anchor-key", "none.pem"], "none.pem"), (BASE + ["--anchor-key", "bad.pem"], "bad.pem"),
    (BASE + ["--non-secure", "--class", "lamp"], "--vendor"),
    (["--gateway", "coap://127.0.0.1:1", "--ep", "a/b", "--state", "s", "--non-secure"], "--ep wants"),
    (["--gateway", "coap://127.0.0.1:1", "--ep", "x" * 51, "--state", "s", "--non-secure"], "--ep wants"),
    (["--smp", "0"], "usage:"), (BASE + ["--smp", "0"], "usage:"), (["--smp", "0", "--state", "s", "--smp-is", "v1,odd"], "--smp-is wants"),
]

with tempfile.TemporaryDirectory() as d:
    os.chdir(d)
    open("bad.pem", "w").write("not a key")
    for args, text in WRONG:
        p = subprocess.run([NODE, *args], capture_output=True, text=True, timeout=30)
        if p.returncode != 2 or text not in p.stderr:
            failures.append(args)
            print("FAILED", args, p.returncode, p.stderr)
    for args in (["--help"], ["--version"]):
        p = subprocess.run([NODE, *args], capture_output=True, text=True, timeout=30)
        if p.returncode != 0 or not p.stdout:
            failures.append(args)
    p = subprocess.run([NODE, *BASE, "--non-secure", "--exit-when-updated", "--timeout", "1", "--status-json", "-"], capture_output=True, text=True,
                       timeout=30)
    if p.returncode != 3 or '"state":"discover"' not in p.stdout:
        failures.append("timeout")
        print("FAILED timeout", p.returncode, p.stdout, p.stderr)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
