"""What system tests are made of: the real daemon, nodes, a vendor with its certificates and servers, and waiting for things.

Nothing here sleeps to let something happen: wait_for() asks again until a condition holds or its time is over. Everything
listens on loopback with ports the kernel picks, so that tests can run side by side."""
import hashlib
import http.client
import json
import mmap
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tools"))
import demo  # noqa: E402  tools/demo.py: the scenario that users see, and its helpers

BUILD = os.path.abspath(os.environ.get("DORMOUSE_BUILD", os.path.join(TOP, "build")))
SLOW = float(os.environ.get("DORMOUSE_SLOW", "1"))  # times all patience, for sanitizer builds and slow machines
VENDOR, MODEL = "vendor.example", "model-1"
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:|AddressSanitizer:DEADLYSIGNAL|assertion .* failed|Assertion")

free_port = demo.free_port


def binary(name):
    folder = {"dormoused": "app", "dormousectl": "cli", "dormouse-node": "node"}[name]
    return os.path.join(BUILD, "src", folder, name)


def is_sanitized():
    """A sanitizer build: memory figures mean nothing there."""
    with open(binary("dormoused"), "rb") as f:
        return b"__asan_init" in f.read()


def run(*args, ok=0, **kw):
    """Runs a command and gives its output; ok: the exit status it must have, or None for any."""
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120 * SLOW, **kw)
    if ok is not None and p.returncode != ok:
        raise AssertionError(f"{' '.join(str(a) for a in args)}: exit status {p.returncode}, wanted {ok}\n{p.stdout}{p.stderr}")
    return p


def ctl(*args, ok=0):
    return run(binary("dormousectl"), *args, ok=ok)


class Timeout(AssertionError):
    pass


def wait_for(test, what, seconds=30, watch=()):
    """Asks test() again until it gives something true, and returns that. watch: things whose .check_alive() complains
    when their process has ended. An exception of a connection counts as "not yet"."""
    end = time.monotonic() + seconds * SLOW
    pause, last = 0.01, None
    while True:
        for w in watch:
            w.check_alive()
        try:
            got = test()
        except (OSError, http.client.HTTPException, ValueError) as e:
            got, last = None, e
        if got:
            return got
        if time.monotonic() > end:
            raise Timeout(f"{what}: did not happen within {seconds * SLOW:.0f} s" + (f" (last error: {last!r})" if last else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def vendor_uuid(vendor=VENDOR):
    return uuid.uuid5(uuid.NAMESPACE_DNS, vendor)


def class_uuid(model=MODEL, vendor=VENDOR):
    return uuid.uuid5(vendor_uuid(vendor), model)


def image_bytes(n, seed=1):
    """n bytes that do not compress and are the same each time."""
    return random.Random(seed).randbytes(n)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---- the daemon ----

def toml_value(v):
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, (int, float)):
        return str(v)
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(toml_value(x) for x in v) + "]"
    return json.dumps(str(v))


def toml(tables):
    """{"state_dir": ..., "log": {...}, "source": [{...}]} as text."""
    out = [f"{k} = {toml_value(v)}" for k, v in tables.items() if not isinstance(v, (dict, list)) or (isinstance(v, list) and not any(isinstance(x, dict) for x in v))]
    for k, v in tables.items():
        if isinstance(v, dict):
            out += [f"[{k}]"] + [f"{a} = {toml_value(b)}" for a, b in v.items()]
        elif isinstance(v, list) and any(isinstance(x, dict) for x in v):
            for row in v:
                out += [f"[[{k}]]"] + [f"{a} = {toml_value(b)}" for a, b in row.items()]
    return "\n".join(out) + "\n"


class Problem(AssertionError):
    pass


class Daemon:
    """One dormoused in its own directory. config: tables that are laid over a default with ephemeral loopback ports, an open
    directory that enrols, and fast revocation refresh; {"coap": {"listen": [...]}} replaces single keys."""

    def __init__(self, folder, config=None, name="gw", wrapper=(), env=None):
        self.name, self.dir = name, os.path.join(folder, name)
        os.makedirs(self.dir, exist_ok=True)
        self.sock, self.state = os.path.join(self.dir, "api.sock"), os.path.join(self.dir, "state")
        self.config_file, self.log_file = os.path.join(self.dir, "dormouse.toml"), os.path.join(self.dir, "dormoused.log")
        self.wrapper, self.env, self.proc = list(wrapper), env, None
        self.expect_crash = False
        self.config = {
            "state_dir": self.state,
            "log": {"level": "info"},
            "coap": {"listen": ["coap://127.0.0.1:0", "coaps://127.0.0.1:0"]},
            "http": {"listen": [f"unix:{self.sock}", "127.0.0.1:0"]},
            "directory": {"open": True, "auto_enrol": True, "max_per_credential": 100000},
            "delivery": {"offer_max_age_s": 5},  # how soon an observer asks again after a restart
            "revocation": {"refresh_max_s": 1, "allow_private": True, "timeout_s": 2},
        }
        self.configure(config or {})

    def configure(self, config):
        """Lays config over what is there and writes the file."""
        for k, v in config.items():
            if isinstance(v, dict):
                self.config.setdefault(k, {}).update(v)
            else:
                self.config[k] = v
        with open(self.config_file, "w") as f:
            f.write(toml(self.config))

    def spawn(self):
        assert self.proc is None or self.proc.poll() is not None
        env = dict(os.environ, **(self.env or {}))
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen([*self.wrapper, binary("dormoused"), "-c", self.config_file], stdout=log, stderr=log,
                                         stdin=subprocess.DEVNULL, cwd=self.dir, env=env)

    def start(self):
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self):
        """From its first answer on it keeps its ports, so that nodes find it again after a restart."""
        self.status_at_start = wait_for(lambda: self.get("status"), "the daemon answers", 20, [self])
        self.configure({"coap": {"listen": self.status_at_start["coap"]}, "http": {"listen": self.status_at_start["http"]}})
        return self

    def check_alive(self):
        if self.proc is None or self.proc.poll() is not None:
            raise Problem(f"dormoused is not running ({self.proc and self.proc.returncode}); its log ends:\n{self.log_text()[-3000:]}")

    @property
    def pid(self):
        """Of the daemon itself, also under a wrapper that stays."""
        return self.proc.pid

    def stop(self, want=0):
        """SIGTERM and a clean end."""
        if self.proc is None:
            return
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(20 * SLOW)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise Problem("dormoused did not end on SIGTERM") from None
        code, self.proc = self.proc.returncode, None
        self.check_log()
        if want is not None and code != want:
            raise Problem(f"dormoused ended with {code}, wanted {want}; its log ends:\n{self.log_text()[-3000:]}")

    def kill9(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
        if self.proc:
            self.proc.wait()
        self.proc = None

    def restart(self):
        self.stop()
        return self.start()

    def run_to_end(self, seconds=20):
        """For a daemon that must refuse to start: (exit status, its log)."""
        self.spawn()
        try:
            code = self.proc.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Problem("dormoused runs, but should have refused to start") from None
        finally:
            self.kill9()
        self.check_log()
        return code, self.log_text()

    def log_text(self):
        try:
            with open(self.log_file, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def check_log(self):
        bad = SANITIZER.search(self.log_text())
        if bad and not self.expect_crash:
            raise Problem("sanitizer or assertion report:\n" + self.log_text()[max(0, bad.start() - 500):bad.start() + 5000])

    # the API

    def api(self, path, method="GET", body=None, timeout=10):
        """(status, decoded JSON or text) over the Unix socket, as an admin."""
        c = demo.UnixHttp(self.sock)
        c.timeout = timeout
        try:
            data = None if body is None else json.dumps(body)
            c.request(method, path if path.startswith("/") else "/api/v1/" + path, data,
                      {"Content-Type": "application/json"} if data else {})
            r = c.getresponse()
            raw = r.read()
            return r.status, json.loads(raw) if "json" in (r.getheader("Content-Type") or "") else raw.decode()
        finally:
            c.close()

    def get(self, path):
        status, body = self.api(path)
        if status != 200:
            raise ValueError(f"{path}: {status} {body}")
        return body

    def post(self, path, body=None, want=(200, 202)):
        status, answer = self.api(path, "POST", body)
        assert status in want, f"{path}: {status} {answer}"
        return answer

    def items(self, path):
        """All items of a list, page by page."""
        out, after = [], ""
        while True:
            page = self.get(f"{path}{'&' if '?' in path else '?'}limit=500{after}")
            out += page["items"]
            if not page["next"]:
                return out
            after = "&after=" + page["next"]

    def updates(self, **want):
        return [u for u in self.items("updates") if all(u[k] == v for k, v in want.items())]

    def wait_update(self, what="the update", seconds=30, state=None, sequence=None, reason=None, test=None):
        """The first update that is in that state, has that sequence number, and whose reason matches the pattern."""
        def found():
            return next((u for u in self.items("updates")
                         if (state is None or u["state"] == state) and (sequence is None or u["sequence"] == sequence)
                         and (reason is None or re.search(reason, u["reason"])) and (test is None or test(u))), None)
        try:
            return wait_for(found, what, seconds, [self])
        except Timeout as e:
            have = "\n".join(f"  {u['id'][:12]} seq {u['sequence']} {u['state']}: {u['reason']}" for u in self.items("updates"))
            raise Timeout(f"{e}; wanted state={state} sequence={sequence} reason={reason}, there are:\n{have or '  none'}") from None

    def source(self, name="vendor"):
        return next(s for s in self.items("sources") if s["name"] == name)

    def wait_source(self, ok, error=None, name="vendor", seconds=30):
        def found():
            s = self.source(name)
            return s if s["is_ok"] == ok and (error is None or re.search(error, s["error"])) else None
        try:
            return wait_for(found, f"source {name}: ok={ok} error={error}", seconds, [self])
        except Timeout as e:
            raise Timeout(f"{e}; it is {self.source(name)}") from None

    def wait_log(self, pattern, seconds=30, since=0):
        return wait_for(lambda: re.search(pattern, self.log_text()[since:]), f"log line /{pattern}/", seconds, [self])

    def audit(self):
        """The daemon's own check of its log, offline."""
        return ctl("-s", self.sock, "audit", "verify").stdout

    @property
    def coap(self):
        return next(a for a in self.status_at_start["coap"] if a.startswith("coap:"))

    @property
    def coaps(self):
        return next(a for a in self.status_at_start["coap"] if a.startswith("coaps:"))

    @property
    def http(self):
        return next(a for a in self.status_at_start["http"] if not a.startswith("unix:"))

    @property
    def coap_port(self):
        return int(self.coap.rstrip("/").rsplit(":", 1)[1])

    @property
    def coaps_port(self):
        return int(self.coaps.rstrip("/").rsplit(":", 1)[1])

    # what it costs

    def memory(self, key="VmRSS"):
        """Bytes; VmHWM is the most there ever was."""
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(rf"^{key}:\s+(\d+) kB", f.read(), re.M)[1]) * 1024

    def reset_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as f:
            f.write("5")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


# ---- nodes ----

class Nodes:
    """A fleet in one dormouse-node process. Options are its own, with _ for -: sleepers=8, crash=0.02, loss=0.05."""

    def __init__(self, daemon, folder, count=1, ep="node", vendor=VENDOR, model=MODEL, start_seq=1, anchor=None, gateway=None, **options):
        self.dir = os.path.join(folder, "nodes-" + ep)
        os.makedirs(self.dir, exist_ok=True)
        self.daemon, self.count, self.ep, self.gateway = daemon, count, ep, gateway
        self.status_file, self.log_file = os.path.join(self.dir, "status.json"), os.path.join(self.dir, "log")
        self.state, self.proc = os.path.join(self.dir, "state"), None
        self.args = ["--ep", ep, "--state", self.state, "--start-seq", start_seq, "--status-json", self.status_file]
        if count != 1:
            self.args += ["--count", count]
        if vendor:
            self.args += ["--vendor", vendor]
        if model:
            self.args += ["--class", model]
        self.args += ["--anchor-key", anchor] if anchor else []
        if not anchor and "mac_key_hex" not in options and "psk_file" not in options:
            self.args += ["--non-secure"]
        for k, v in options.items():
            self.args += ["--" + k.replace("_", "-")] + ([] if v is True else [v])

    def start(self, wait=True):
        args = [binary("dormouse-node"), "--gateway", self.gateway or self.daemon.coap, *self.args]
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen([str(a) for a in args], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            names = self.names()
            wait_for(lambda: names <= {e["endpoint"] for e in self.daemon.items("endpoints")}, f"{self.count} nodes register", 60,
                     [self, self.daemon])
        return self

    def names(self):
        return {self.ep} if self.count == 1 else {f"{self.ep}-{i:03}" for i in range(self.count)}

    def check_alive(self):
        if self.proc is None or self.proc.poll() is not None:
            raise Problem(f"dormouse-node is not running ({self.proc and self.proc.returncode}); its log ends:\n{self.log_text()[-2000:]}")

    def log_text(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    def status(self):
        with open(self.status_file) as f:
            return json.load(f)["nodes"]

    def wait_sequence(self, sequence, seconds=60, count=None):
        """Until all (or count) nodes run that sequence number."""
        want = self.count if count is None else count
        try:
            return wait_for(lambda: sum(n["sequence"] == sequence for n in self.status()) >= want,
                            f"{want} nodes run sequence {sequence}", seconds, [self])
        except Timeout as e:
            raise Timeout(f"{e}; nodes: {self.status()[:20]}") from None

    def installed(self, component=0):
        """{name: bytes of what is in that node's slot}"""
        out = {}
        for name in self.names():
            path = os.path.join(self.state, name if self.count != 1 else "", f"slot-{component}")
            if os.path.exists(path):
                with open(path, "rb") as f:
                    out[name] = f.read()
        return out

    def wait_end(self, seconds=60):
        code = self.proc.wait(seconds * SLOW)
        self.proc = None
        self.check_log()
        return code

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.proc = None
        self.check_log()

    def kill9(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
        if self.proc:
            self.proc.wait()
        self.proc = None

    def check_log(self):
        if os.path.exists(self.log_file):
            bad = SANITIZER.search(self.log_text())
            if bad:
                raise Problem("sanitizer or assertion report of dormouse-node:\n" + self.log_text()[max(0, bad.start() - 500):bad.start() + 5000])


class Fault:
    """Makes a daemon's disk fail and its clock lie, at any moment: see fault_shim.c. Pass env() to the daemon."""

    def __init__(self, folder, below):
        self.file, self.below = os.path.join(folder, "fault"), below
        with open(self.file, "wb") as f:
            f.write(bytes(16))
        self.map_file = open(self.file, "r+b")
        self.map = mmap.mmap(self.map_file.fileno(), 16)

    def env(self):
        e = {"LD_PRELOAD": os.path.join(BUILD, "tests", "system", "libfault-shim.so"), "DORMOUSE_FAULT": self.file,
             "DORMOUSE_FAULT_DIR": self.below}
        if is_sanitized():
            e["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return e

    def disk(self, error):
        """An errno for everything that writes, or 0."""
        self.map[0:4] = struct.pack("=i", error)

    @property
    def hits(self):
        return struct.unpack("=i", self.map[4:8])[0]

    def clock(self, seconds):
        self.map[8:16] = struct.pack("=q", int(seconds) * 1000)


class Line:
    """A slow line between a node and the gateway: passes datagrams on after delay_s each, or loses them while is_cut."""

    def __init__(self, port, delay_s=0.01):
        self.port_to, self.delay_s, self.is_cut, self.passed = port, delay_s, False, 0
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.listener.bind(("127.0.0.1", 0))
        self.uri = f"coap://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ends = {}                          # our socket towards the gateway: the node's address
        self.wake, self.waker = socket.socketpair()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            ready, _, _ = select.select([self.wake, self.listener, *self.ends], [], [])
            if self.wake in ready:
                return
            for s in ready:
                try:
                    data, address = s.recvfrom(65536)
                except OSError:  # refused: the daemon is down
                    continue
                if self.is_cut:
                    continue
                time.sleep(self.delay_s)  # the line's speed, not a wait for something
                self.passed += 1
                if s is self.listener:
                    self.send(self.end_of(address), data)
                else:
                    self.listener.sendto(data, self.ends[s])

    def send(self, s, data):
        try:
            s.send(data)
        except OSError:
            pass  # the daemon is down

    def end_of(self, address):
        for s, a in self.ends.items():
            if a == address:
                return s
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(("127.0.0.1", self.port_to))
        self.ends[s] = address
        return s

    def stop(self):
        self.waker.send(b"x")
        self.thread.join()
        for s in (self.listener, self.wake, self.waker, *self.ends):
            s.close()


# ---- raw CoAP, for packets that no client would send ----

def coap_message(code, path="", payload=b"", kind=0, mid=1, token=b"", options=()):
    """One CoAP message; options: (number, bytes) beside the Uri-Path of path."""
    opts = sorted([(11, p.encode()) for p in path.split("/") if p] + list(options), key=lambda o: o[0])
    out, last = bytearray(struct.pack("!BBH", 0x40 | kind << 4 | len(token), code, mid) + token), 0
    for number, value in opts:
        d, n = number - last, len(value)
        ext = b""
        nib = []
        for x in (d, n):
            if x < 13:
                nib.append(x)
            elif x < 269:
                nib.append(13)
                ext += bytes([x - 13])
            else:
                nib.append(14)
                ext += struct.pack("!H", x - 269)
        out += bytes([nib[0] << 4 | nib[1]]) + ext + value
        last = number
    return bytes(out) + (b"\xff" + payload if payload else b"")


def coap_parse(data):
    """(code, [(option number, value)], payload) of a message."""
    at, number, options = 4 + (data[0] & 15), 0, []
    while at < len(data) and data[at] != 0xff:
        nibbles, fields = data[at], []
        at += 1
        for x in (nibbles >> 4, nibbles & 15):
            if x == 13:
                x, at = 13 + data[at], at + 1
            elif x == 14:
                x, at = 269 + int.from_bytes(data[at:at + 2], "big"), at + 2
            fields.append(x)
        number += fields[0]
        options.append((number, data[at:at + fields[1]]))
        at += fields[1]
    return data[1], options, data[at + 1:]


def udp(port, data, timeout=2.0, want=True):
    """Sends one datagram to loopback and gives the first answer, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout * SLOW)
        s.connect(("127.0.0.1", port))
        s.send(data)
        if not want:
            return None
        try:
            return s.recv(65536)
        except socket.timeout:
            return None
