"""dormousectl against an API of this file's own: what it asks, what it shows, how it fails. Argument: dormousectl."""
import http.server
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import urllib.parse

CTL = os.path.abspath(sys.argv[1])
failures = []
ble_steps = []                                 # what "pairing" of a node says, one look each
asked = []                                     # (method, path, query, headers, body)
ID = "c4f75b96062a7229e9031733f402e099ab42bed94263a1c26779b128480eb2cf"


def check(what, ok, detail=""):
    if not ok:
        failures.append(what)
        print("FAILED", what, detail)


def update(i, state="available"):
    return {"id": f"{i:04x}" + ID[4:], "state": state, "sequence": i, "version": "1.2", "approved": True, "source": "vendor", "anchor": "acme",
            "found_at": "2026-11-22T09:00:00.123Z", "reason": "\x1b[31mred\u202e" if i == 0 else ""}


def answer(method, path, query):
    after = query.get("after", [""])[0]
    if path == "updates":                      # three pages
        start = int(after) if after else 0
        more = start + 2 < 5
        return 200, {"items": [update(i) for i in range(start, min(start + 2, 5))], "total": 5, "next": str(start + 2) if more else None}
    if path == "updates/none":
        return 404, {"type": "about:blank", "status": 404, "detail": "no update \"none\""}
    if path.endswith("/verdict"):
        return 200, {"outcome": "accepted", "rules": [{"id": "SU-4", "name": "manifest digest", "outcome": "pass", "evidence": "it matches"}]}
    if path == "jobs":
        return 200, {"items": [{"id": "ab" * 16, "device": "node-1", "update": ID, "state": "transferring", "sent_bytes": 512, "total_bytes": 1024,
                                "attempts": 1, "state_at": None, "reason": ""}], "total": 1, "next": None}
    if path == "rollouts":
        return 200, {"items": [{"id": "r1", "update": ID, "state": "running", "state_at": None, "jobs": {"queued": 3, "failed": 0, "confirmed": 4}}],
                     "total": 1, "next": None}
    if path == "devices":
        return 200, {"items": [{"id": "node-1", "state": "enrolled", "wake": {"kind": "polls"}, "proof": "signature", "identity": "",
                                "components": [{"sequence": 7, "version": "1.0"}], "last_seen": None, "name": "größer"}], "total": 1, "next": None}
    if path == "credentials":
        return 200, {"items": [{"identity": "alice", "kind": "psk", "device": "", "roles": ["admin", "viewer"]}], "total": 1, "next": None}
    if path in ("endpoints", "images", "sources", "audit"):
        return 200, {"items": [], "total": 0, "next": None}
    if path == "health":
        return (503, {"ok": False, "problems": [{"what": "store", "text": "the disk is full"}]}) if os.path.exists("sick") else (200, {"ok": True, "problems": []})
    if path == "why-not":
        return 200, {"allowed": False, "blocks": [{"rule": "SU-15", "text": "wrong class", "is_wait": False}]}
    if path == "reload":
        return (422, {"detail": "dormouse.toml:3: x: no such key"}) if os.path.exists("sick") else (200, {"ok": True, "changes": "log.level: info -> debug\n"})
    if path == "ble/nodes":
        return 200, {"items": [{"id": "ble-c00000000001", "address": "C0:00:00:00:00:01", "address_type": "random", "name": "lamp\x1b", "device": "hall",
                                "adapter": "hci0", "rssi": -44, "is_connected": True, "is_busy": False, "is_bonded": False, "heard_s": 65}],
                     "total": 1, "next": None}
    if path == "ble/adapters":
        return 503, {"detail": "Bluetooth LE is off: ble.enabled in the configuration"}
    if path.startswith("ble/nodes/") and method == "GET":
        return 200, {"id": path, "pairing": ble_steps.pop(0) if ble_steps else {"state": "done"}}
    if path == "empty":
        return 500, None
    return 200, {"ok": True, "id": path, "list": [1, {"a": "b"}]}


def event(i):
    return {"event": "job-state", "at": "2026-11-22T09:00:00.000Z", "text": f"job {i} moves\x1b"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(url.path).removeprefix("/api/v1/")
        query = urllib.parse.parse_qs(url.query)
        asked.append((self.command, path, query, dict(self.headers), body))
        if path == "events":
            return self.events()
        if path == "events/recent":
            return self.send(200, {"items": [{"id": i, "data": event(i)} for i in range(3)], "total": 3, "next": None})
        if self.headers.get("Authorization") == "Bearer wrong":
            return self.send(401, None)
        self.send(*answer(self.command, path, query))

    def send(self, status, body):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for i in range(3):
            self.wfile.write(f"retry: 1\r\nid: {i}\nevent: job-state\ndata: {json.dumps(event(i))}\n\n: comment\n\n".encode())
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def address_string(self):
        return "unix"

    def log_message(self, *args):
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class TcpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True


def ctl(*args, want=0, env=None):
    asked.clear()
    p = subprocess.run([CTL, *args], capture_output=True, text=True, env={**os.environ, "DORMOUSE_API": "api.sock", **(env or {})}, timeout=60)
    check(" ".join(args), p.returncode == want, f"exit {p.returncode}, not {want}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr


def calls():
    return [(m, p) for m, p, *_ in asked]


def tables():
    out = ctl("updates")
    check("every page is read", out.count("available") == 5 and len(asked) == 3, out)
    check("a header, and short ids", out.startswith("UPDATE") and "0001" + ID[4:12] in out and ID[4:20] not in out, out)
    check("no escape sequence of a peer comes through", "\x1b" not in out and "\u202e" not in out, repr(out))
    check("milliseconds are for programs", "2026-11-22T09:00:00Z" in out)
    doc = json.loads(ctl("updates", "--json"))
    check("--json holds all pages", len(doc["items"]) == 5 and doc["total"] == 5 and doc["next"] is None)
    check("--json stands anywhere", json.loads(ctl("--json", "updates")) == doc)
    check("50%", " 50%" in ctl("jobs"))
    check("counts without zeros", "3 queued, 4 confirmed" in ctl("rollouts"))
    out = ctl("devices")
    check("nested fields", re.search(r"node-1\s+enrolled\s+7\s+1\.0\s+polls\s+signature", out), out)
    check("columns are as wide as they look", "größer" in out)
    for noun in ("endpoints", "images", "sources", "audit"):
        check(f"{noun}: an empty list is its header", len(ctl(noun).splitlines()) == 1)
    check("a list of words", re.search(r"alice\s+psk\s+-?\s*admin, viewer", ctl("credentials")))
    check("colours only on a terminal", "\x1b" not in ctl("updates") and "\x1b[32m" in ctl("--color", "always", "updates"))
    ctl("jobs", "--state", "open", "--device", "a b&c", "--update", "12")
    check("filters are escaped", asked[0][2] == {"state": ["open"], "device": ["a b&c"], "update": ["12"], "limit": ["1000"]}, asked[0])


def actions():
    ctl("approve", "abc/../d")
    check("ids are escaped", calls() == [("POST", "updates/abc/../d/approve")], asked)
    ctl("recall", "abc", "--reason", 'bad "fw"')
    check("recall", calls() == [("POST", "updates/abc/recall")] and json.loads(asked[0][4]) == {"reason": 'bad "fw"'}, asked)
    ctl("recall", "abc", want=1)
    check("a recall wants its reason before anything is sent", not asked)
    ctl("jobs", "retry", "12")
    check("retry", calls() == [("POST", "jobs/12/retry")])
    ctl("jobs", "cancel", "12")
    check("cancel", calls() == [("POST", "jobs/12/cancel")])
    ctl("sources", "poll", "vendor")
    check("poll", calls() == [("POST", "sources/vendor/poll")])
    ctl("devices", "add", "n1", "--vendor", "vendor.example", "--class", "lamp", "--wake", "window,60,5", "--proof", "mac", "--identity", "n1", "--hw", "B")
    check("add", calls() == [("PUT", "devices/n1")])
    d = json.loads(asked[0][4])
    check("the device's facts", d["wake"] == {"kind": "window", "period_s": 60, "window_s": 5} and d["proof"] == "mac" and d["hw_revision"] == "B" and
          len(d["vendor_id"]) == 36 and len(d["class_id"]) == 36, d)
    ctl("devices", "add", "n1", "--class", "lamp", want=1)
    ctl("devices", "enrol", "n1")
    check("enrol", calls() == [("POST", "devices/n1/state")] and json.loads(asked[0][4]) == {"state": "enrolled"})
    ctl("devices", "remove", "n1")
    check("remove", calls() == [("DELETE", "devices/n1")])
    ctl("endpoints", "remove", "a1")
    check("remove a registration", calls() == [("DELETE", "endpoints/a1")])
    ctl("credentials", "remove", "alice")
    check("remove a credential", calls() == [("DELETE", "credentials/alice")] and not asked[0][2], asked)
    ctl("credentials", "remove", "alice", "--kind", "mac")
    check("of a kind", asked[0][2] == {"kind": ["mac"]}, asked)
    ctl("revocation", "refresh")
    check("revocation refresh", calls() == [("POST", "revocation/refresh")])
    for wrong in (["endpoints", "remove"], ["credentials", "remove"], ["credentials", "list", "--kind", "mac"], ["revocation"], ["revocation", "x"]):
        check("usage", "usage:" in ctl(*wrong, want=2) and not asked, asked)
    open("psk", "w").write("00112233445566778899aabbccddeeff\n")
    ctl("devices", "credential", "n1", "--psk-file", "psk", "--mac-key-file", "psk", "--device", "n1")
    check("credentials", calls() == [("PUT", "credentials/n1")] * 2 and [json.loads(a[4])["kind"] for a in asked] == ["psk", "mac"], asked)
    open("psk", "w").write("short")
    ctl("devices", "credential", "n1", "--psk-file", "psk", want=1)
    check("a bad key is not sent", not asked)


def shows():
    out = ctl("updates", "show", "abc")
    check("show gives the fields and the verdict", "updates/abc" in out and "SU-4" in out and "it matches" in out, out)
    out = ctl("why-not", "n1", "abc")
    check("why-not", "SU-15: wrong class" in out and asked[0][2] == {"device": ["n1"], "update": ["abc"]}, out)
    check("reload tells what changed", "log.level" in ctl("config", "reload"))
    check("healthy", ctl("health").strip() == "healthy")
    open("sick", "w").close()
    out = ctl("health", want=1)
    check("degraded, and why", "store: the disk is full" in out and "degraded" in out, out)
    check("a refused configuration is told", "no such key" in ctl("config", "reload", want=1))
    os.unlink("sick")
    ctl("status")
    ctl("devices", "show", "n1")
    ctl("endpoints", "show", "a1")
    ctl("rollouts", "show", "r1")
    ctl("jobs", "show", "j1")


def ble():
    out = ctl("ble")
    check("nodes", re.search(r"ble-c00000000001\s+C0:00:00:00:00:01\s+random\s+lamp\S*\s+hall\s+hci0\s+-44", out) and "\x1b" not in out, repr(out))
    check("off, and what to do", "ble.enabled" in ctl("ble", "adapters", want=1))
    ctl("ble", "show", "ble-c00000000001")
    check("show", calls() == [("GET", "ble/nodes/ble-c00000000001")])
    going = {"what": "pair", "state": "going", "is_passkey_wanted": False, "passkey": None}
    ble_steps[:] = [going, {**going, "passkey": "004711"}, {**going, "passkey": "004711"}, {"state": "done"}]
    out = ctl("ble", "pair", "C0:00:00:00:00:01")
    check("what to type is shown, once", out.splitlines() == ["type 004711 at the node", "paired"], out)
    check("pair", calls()[0] == ("POST", "ble/nodes/C0:00:00:00:00:01/pair") and len(calls()) == 5, asked)
    ble_steps[:] = [{**going, "is_passkey_wanted": True}] * 2 + [{"state": "failed", "why": "Authentication \x1bFailed"}]
    out = ctl("ble", "pair", "x", want=1)
    check("digits are asked for, the failure is told", out.count("dormousectl ble passkey x DIGITS") == 1 and "Authentication" in out and "\x1b" not in out, repr(out))
    ctl("ble", "passkey", "x", "000042")
    check("passkey", calls() == [("POST", "ble/nodes/x/passkey")] and json.loads(asked[0][4]) == {"passkey": "000042"}, asked)
    check("unpair", "forgotten" in ctl("ble", "unpair", "x") and calls()[0] == ("DELETE", "ble/nodes/x/bond"), asked)
    for wrong in (["ble", "pair"], ["ble", "passkey", "x"], ["ble", "frobnicate"], ["ble", "adapters", "x"]):
        check("usage", "usage:" in ctl(*wrong, want=2) and not asked, asked)


def events():
    out = ctl("events", "-f", "-n", "5", "--kind", "job-state")
    check("events", out.count("job-state") == 3 and "\x1b" not in out, repr(out))
    check("what was asked", asked[0][2] == {"last": ["5"], "types": ["job-state"]}, asked)
    out = ctl("events", "-n", "5", "--kind", "job-state")
    check("the last ones", out.count("job-state") == 3 and "\x1b" not in out, repr(out))
    recent = [a[2] for a in asked if a[1] == "events/recent"]  # a follower's last attempt may still come in between
    check("as they were asked", recent == [{"limit": ["5"], "types": ["job-state"]}], asked)
    lines = ctl("events", "--json").splitlines()
    check("events as JSON lines", len(lines) == 3 and json.loads(lines[0])["text"].startswith("job 0"))


def no_permission():
    """As another user, which root alone can be: neither the socket nor its directory is open to all."""
    if os.getuid() != 0:
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        program = shutil.copy(CTL, d)          # the build directory may be closed to others
        for name, mode in (("open", 0o755), ("closed", 0o700)):
            os.mkdir(f"{d}/{name}")
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(f"{d}/{name}/api.sock")
                os.chmod(f"{d}/{name}/api.sock", 0o600)
            os.chmod(f"{d}/{name}", mode)
        os.chmod(d, 0o755)
        for name, why in (("open", "http.socket_mode"), ("closed", "directory")):
            p = subprocess.run([program, "-s", f"{d}/{name}/api.sock", "status"], capture_output=True, text=True, user=65534, cwd="/", timeout=60)
            check(f"permission denied, {name} directory", p.returncode == 1 and "Permission denied: this user may not" in p.stderr and
                  why in p.stderr, p.stderr)


def trouble(port):
    check("a problem's detail is told", 'no update "none"' in ctl("updates", "show", "none", want=1))
    check("no socket: what to do", "is dormoused running?" in ctl("-s", "/nonexistent/api.sock", "status", want=1))
    dead = socket.socket(socket.AF_UNIX)
    dead.bind("dead.sock")
    dead.close()
    out = ctl("-s", "dead.sock", "status", want=1)
    check("a socket that a daemon left behind", "cannot reach dormoused at dead.sock" in out and "is it running?" in out, out)
    no_permission()
    check("nobody listens", "cannot reach" in ctl("-s", "http://127.0.0.1:1", "status", want=1))
    check("no such command", "--help" in ctl("frobnicate", want=2))
    check("wrong verb", "usage:" in ctl("jobs", "frobnicate", want=2))
    ctl("-s", f"http://127.0.0.1:{port}", "status")
    ctl("-s", f"127.0.0.1:{port}", "status")
    open("token", "w").write("secret-token\n")
    ctl("-s", f"http://127.0.0.1:{port}/", "--token-file", "token", "status")
    check("the token is sent", asked[0][3].get("Authorization") == "Bearer secret-token", asked)
    open("token", "w").write("wrong\n")
    check("a refused token: what to do", "--token-file" in ctl("status", want=1, env={"DORMOUSE_TOKEN_FILE": "token"}))
    ctl("--token-file", "none", "status", want=1)
    check("help", "usage: dormousectl" in ctl("--help"))
    check("help of a command", "audit" in ctl("audit", "--help"))
    check("version", ctl("--version").startswith("dormousectl "))


def completion():
    script = ctl("completion", "bash")
    p = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    check("bash reads the completion", p.returncode == 0, p.stderr)
    probe = script + '\nCOMP_WORDS=(dormousectl -s x jobs re); COMP_CWORD=4; _dormousectl; echo "${COMPREPLY[@]}"'
    p = subprocess.run(["bash"], input=probe, text=True, capture_output=True)
    check("and completes", p.stdout.strip() == "retry", p.stdout + p.stderr)


with tempfile.TemporaryDirectory() as d:
    os.chdir(d)
    unix, tcp = UnixServer("api.sock", Handler), TcpServer(("127.0.0.1", 0), Handler)
    for s in (unix, tcp):
        threading.Thread(target=s.serve_forever, daemon=True).start()
    tables()
    actions()
    shows()
    ble()
    events()
    trouble(tcp.server_address[1])
    completion()
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
