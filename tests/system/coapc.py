"""Debian's coap-client as a peer, the npm packages, and children whose lines are read: clients that we did not write."""
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading

import lib

CLIENT = shutil.which("coap-client-openssl")
PDU = re.compile(r"v:1 t:(\w+) c:(\S+) i:(\w+) \{(\w*)\} \[ ?(.*?) \](?: :: |$)")
NPM = os.path.join(lib.TOP, "tests", "system", "npm")


class Pdu:
    """One message as coap-client printed it."""

    def __init__(self, kind, code, mid, token, options):
        self.kind, self.code, self.mid, self.token, self.options = kind, code, mid, token, []
        for o in re.split(r", (?=[A-Z][A-Za-z0-9-]*:)", options.strip(", ")) if options.strip() else []:
            name, _, value = o.partition(":")
            self.options.append((name, value))

    def get(self, name):
        return next((v for k, v in self.options if k == name), None)

    def all(self, name):
        return [v for k, v in self.options if k == name]


class Answer:
    """What came back: every PDU received, the last one's code, and the whole body."""

    def __init__(self, log, body):
        self.log, self.body, self.received, ours = log, body, [], False
        for line in log.splitlines():
            if ": sent " in line or ": received " in line:
                ours = ": received " in line
            m = PDU.search(line)
            if m and ours:
                self.received.append(Pdu(*m.groups()))
        self.last = next((p for p in reversed(self.received) if p.code[0] in "245"), None)
        self.code = self.last.code if self.last else None

    @property
    def text(self):
        return self.body.decode()

    @property
    def links(self):
        """Targets and attributes of a link-format body."""
        return links(self.text)


def links(text):
    out = []
    for one in re.findall(r'<[^>]*>(?:;(?:"[^"]*"|[^,"])*)*', text):
        target, *rest = re.findall(r'<[^>]*>|;[^;="]+(?:="[^"]*"|=[^;"]*)?', one)
        attributes = {}
        for r in rest:
            k, _, v = r[1:].partition("=")
            attributes[k] = v.strip('"')
        out.append((target[1:-1], attributes))
    return out


def arguments(uri, method, payload_file, ct, accept, block, psk, options, seconds, extra):
    args = [CLIENT, "-v", "7", "-B", str(seconds), "-m", method]
    if payload_file:
        args += ["-f", payload_file]
    for flag, value in (("-t", ct), ("-A", accept), ("-b", block)):
        if value is not None:
            args += [flag, str(value)]
    if psk:
        args += ["-u", psk[0], "-k", psk[1]]
    for number, value in options:
        args += ["-O", f"{number},{value}"]
    return args + list(extra) + [uri]


def request(uri, method="get", payload=None, ct=None, accept=None, block=None, psk=None, options=(), seconds=8, extra=()):
    """One exchange, blockwise if it must be. psk: (identity, key as text)."""
    seconds = int(seconds * lib.SLOW)
    with tempfile.TemporaryDirectory(prefix="coapc-") as d:
        body = os.path.join(d, "out")
        payload_file = None
        if payload is not None:
            payload_file = os.path.join(d, "in")
            with open(payload_file, "wb") as f:
                f.write(payload if isinstance(payload, bytes) else payload.encode())
        args = arguments(uri, method, payload_file, ct, accept, block, psk, options, seconds, ["-o", body, *extra])
        p = subprocess.run(args, capture_output=True, timeout=seconds + 30)
        data = b""
        if os.path.exists(body):
            with open(body, "rb") as f:
                data = f.read()
    return Answer((p.stdout + p.stderr).decode(errors="replace"), data)


class Observer:
    """coap-client that observes for a while; payloads come one a line. linger_s: so long it stays after its cancellation."""

    def __init__(self, folder, uri, seconds=60, psk=None, name="observe", options=(), linger_s=0):
        self.out, self.log = os.path.join(folder, name + ".out"), os.path.join(folder, name + ".log")
        args = arguments(uri, "get", None, None, None, None, psk, options, int(seconds + linger_s), ["-s", str(int(seconds)), "-w", "-o", self.out])
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def text(self):
        try:
            with open(self.out) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def notifications(self):
        with open(self.log, errors="replace") as f:
            return [p for p in Answer(f.read(), b"").received if p.get("Observe") is not None]

    def wait(self, pattern, seconds=15):
        return lib.wait_for(lambda: re.search(pattern, self.text()), f"a notification with /{pattern}/; so far {self.text()!r}", seconds)

    def stop(self):
        self.proc.terminate()
        self.proc.wait(10)

    def kill9(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


def npm():
    """The folder with node_modules, installed from the lockfile once per build directory."""
    folder = os.path.join(lib.BUILD, "npm")
    done = os.path.join(folder, "installed")
    with open(os.path.join(NPM, "package-lock.json")) as f:
        wanted = f.read()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:  # test files run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (os.path.exists(done) and open(done).read() == wanted):
            for name in ("package.json", "package-lock.json"):
                shutil.copy(os.path.join(NPM, name), folder)
            lib.run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", cwd=folder)
            with open(done, "w") as f:
                f.write(wanted)
    return folder


def script(name):
    """One of tests/system/npm/*.mjs, laid where the packages are in reach."""
    return shutil.copy(os.path.join(NPM, name), npm())


def node(name, *args, ok=0, **kw):
    return lib.run("timeout", str(int(40 * lib.SLOW)), "node", script(name), *args, ok=ok, **kw)


class Lines:
    """A child whose lines are read as they come."""

    def __init__(self, *args, cwd=None):
        self.proc = subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=cwd)
        self.lines, self.ended = [], threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.proc.stdout:
            self.lines.append(line.rstrip("\n"))
        self.ended.set()

    def wait(self, test, what, seconds=15):
        return lib.wait_for(lambda: next((x for x in list(self.lines) if test(x)), None), f"{what}; so far {self.lines[-10:]}", seconds)

    def stop(self):
        self.proc.terminate()
        self.proc.wait(10)

    def kill9(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
