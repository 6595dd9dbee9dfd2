"""The demo's scenario: see tools/demo. Python's standard library and the openssl command only."""
import argparse
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

FIRMWARE = "/usr/share/firmware-microbit-micropython/firmware.hex"
VENDOR, MODEL = "vendor.example", "microbit-v1"
DONE_STATES = {"confirmed", "failed", "reverted", "cancelled"}


class Failure(Exception):
    pass


def run(*args, cwd=None, quiet=True):
    p = subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True)
    if p.returncode != 0:
        raise Failure(f"{' '.join(str(a) for a in args)}\n{p.stdout}{p.stderr}")
    if not quiet:
        print(p.stdout, end="")
    return p.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Pki:
    """A vendor's: root, signing certificate, OCSP responder, and one for its web server, by openssl."""

    def __init__(self, folder, name, ocsp_port):
        self.d = os.path.join(folder, name)
        os.makedirs(os.path.join(self.d, "new"))
        self.name = name
        open(self.path("index.txt"), "w").close()
        with open(self.path("serial"), "w") as f:
            f.write("1000\n")
        with open(self.path("ca.cnf"), "w") as f:
            f.write(f"""
[ca]
default_ca = d
[d]
database = {self.path('index.txt')}
serial = {self.path('serial')}
new_certs_dir = {self.path('new')}
certificate = {self.path('root.pem')}
private_key = {self.path('root.key')}
default_md = sha256
default_days = 365
policy = any
unique_subject = no
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[signer]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
authorityInfoAccess = OCSP;URI:http://127.0.0.1:{ocsp_port}/
[responder]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = OCSPSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
noCheck = ignored
[web]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
""")
        self.key("root")
        run("openssl", "req", "-x509", "-new", "-key", self.path("root.key"), "-out", self.path("root.pem"), "-days", "3650",
            "-subj", f"/CN={name} root", "-config", self.path("req.cnf"), "-extensions", "root")
        for who in ("signer", "responder", "web"):
            self.key(who)
            run("openssl", "req", "-new", "-key", self.path(who + ".key"), "-out", self.path(who + ".csr"), "-subj",
                f"/CN={name} {who}", "-config", self.path("req.cnf"))
            run("openssl", "ca", "-batch", "-notext", "-config", self.path("ca.cnf"), "-extensions", who, "-in",
                self.path(who + ".csr"), "-out", self.path(who + ".pem"))

    def path(self, name):
        return os.path.join(self.d, name)

    def key(self, who):
        if not os.path.exists(self.path("req.cnf")):
            with open(self.path("req.cnf"), "w") as f:
                f.write("[req]\ndistinguished_name = dn\n[dn]\n[root]\nbasicConstraints = critical,CA:TRUE\n"
                        "keyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n")
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.path(who + ".key"))

    def revoke(self):
        run("openssl", "ca", "-batch", "-config", self.path("ca.cnf"), "-revoke", self.path("signer.pem"), "-crl_reason",
            "keyCompromise")


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):  # without the base class's look-up of our own name
        http.server.socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        pass  # a client that goes away is not news


def serve_https(folder, port, pki):
    httpd = Server(("127.0.0.1", port), lambda *a: Quiet(*a, directory=folder))
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(pki.path("web.pem"), pki.path("web.key"))
    httpd.socket = ctx.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    return httpd


class UnixHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.unix_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self.unix_path)


class Demo:
    def __init__(self, a):
        self.a = a
        self.dir = tempfile.mkdtemp(prefix="dormouse-demo-")
        os.chmod(self.dir, 0o755)
        self.children = []
        self.results = []
        self.tty = sys.stdout.isatty()
        self.sock = os.path.join(self.dir, "api.sock")
        self.www = os.path.join(self.dir, "www")
        os.makedirs(self.www)
        self.started = time.monotonic()

    def bin(self, name):
        folder = {"dormoused": "app", "dormousectl": "cli", "dormouse-node": "node"}[name]
        return os.path.abspath(os.path.join(self.a.build, "src", folder, name))

    def say(self, text):
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    def spawn(self, name, *args):
        log = open(os.path.join(self.dir, name + ".log"), "ab")
        p = subprocess.Popen([str(x) for x in args], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.dir)
        self.children.append((name, p))
        return p

    def api(self, path, method="GET"):
        c = UnixHttp(self.sock)
        try:
            c.request(method, "/api/v1/" + path)
            r = c.getresponse()
            return r.status, json.loads(r.read())
        finally:
            c.close()

    def items(self, path):
        out, after = [], ""
        while True:
            status, page = self.api(f"{path}{'&' if '?' in path else '?'}limit=500{after}")
            if status != 200:
                raise Failure(f"{path}: {page}")
            out += page["items"]
            if not page["next"]:
                return out
            after = "&after=" + page["next"]

    def wait(self, what, test, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, p in self.children:
                if p.poll() is not None:
                    raise Failure(f"{name} ended by itself ({p.returncode}); its log: {os.path.join(self.dir, name + '.log')}\n"
                                  + open(os.path.join(self.dir, name + ".log")).read()[-2000:])
            try:
                got = test()
            except (OSError, http.client.HTTPException, ValueError):
                got = None
            if got:
                return got
            time.sleep(0.1)
        raise Failure(f"{what}: did not happen within {seconds} s")

    def check(self, what, ok, detail=""):
        self.results.append((what, ok, detail))
        self.say(("  ok  " if ok else "FAILED ") + what + (f": {detail}" if detail else ""))
        if not ok:
            raise Failure(what)

    # ---- the parts ----

    def make_pki(self):
        self.ocsp_port, self.web_port = free_port(), free_port()
        self.pki = Pki(self.dir, "vendor", self.ocsp_port)
        self.foreign = Pki(self.dir, "stranger", self.ocsp_port)

    def start_vendor(self):
        self.httpd = serve_https(self.www, self.web_port, self.pki)
        self.spawn("ocsp", "openssl", "ocsp", "-index", self.pki.path("index.txt"), "-port", self.ocsp_port, "-rsigner",
                   self.pki.path("responder.pem"), "-rkey", self.pki.path("responder.key"), "-CA", self.pki.path("root.pem"),
                   "-nmin", "1")

    def start_daemon(self):
        self.config = os.path.join(self.dir, "dormouse.toml")
        with open(self.config, "w") as f:
            f.write(f"""state_dir = "{self.dir}/state"
[log]
level = "info"
[coap]
listen = ["coap://127.0.0.1:0", "coaps://127.0.0.1:0"]
[http]
listen = ["unix:{self.sock}", "127.0.0.1:0"]
[directory]
open = true
auto_enrol = true
[revocation]
refresh_max_s = 5
allow_private = true
[[source]]
name = "vendor"
kind = "https"
url = "https://127.0.0.1:{self.web_port}/latest.suit"
ca_file = "{self.pki.path('root.pem')}"
poll_s = 1
jitter_s = 0
allow_private = true
policy = "auto"
[[anchor]]
name = "vendor"
file = "{self.pki.path('root.pem')}"
vendor_ids = ["{self.uuid('vendor')}"]
hosts = ["127.0.0.1"]
""")
        self.spawn("dormoused", self.bin("dormoused"), "-c", self.config)
        status = self.wait("the daemon", lambda: self.api("status")[1])
        self.coap = [a for a in status["coap"] if a.startswith("coap:")][0]
        self.say(f"dormoused {status['version']} answers at {self.coap} and {self.sock}")

    def uuid(self, what):
        import uuid
        vendor = uuid.uuid5(uuid.NAMESPACE_DNS, VENDOR)
        return str(vendor if what == "vendor" else uuid.uuid5(vendor, MODEL))

    def start_nodes(self):
        a = self.a
        args = ["--gateway", self.coap, "--ep", "node", "--state", os.path.join(self.dir, "nodes"), "--count", a.nodes,
                "--sleepers", a.sleepers, "--sleep", "6", "--awake", "3", "--vendor", VENDOR, "--class", MODEL, "--start-seq", "1",
                "--anchor-key", self.pki.path("root.pem"), "--seed", "1"]
        if a.loss:
            args += ["--loss", a.loss / 100, "--ack-timeout", "1000"]  # the shortest; this is a loopback, not a radio
        self.spawn("nodes", self.bin("dormouse-node"), *args)
        self.wait("the registrations", lambda: self.api("status")[1]["endpoints"] >= a.nodes, 90)
        self.say(f"{a.nodes} nodes registered, {a.sleepers} of them sleep 6 s at a time")

    def publish(self, sequence, pki=None, tamper=False):
        """The image under its own name first, then the envelope in one move."""
        pki = pki or self.pki
        name = f"microbit-{sequence}.hex"
        image = bytearray(open(FIRMWARE, "rb").read())
        image += f"\n; build {sequence}\n".encode()
        good = os.path.join(self.dir, name)
        open(good, "wb").write(image)
        run(self.bin("dormousectl"), "author", "sign", "--key", pki.path("signer.key"), "--chain", pki.path("signer.pem"), "--vendor",
            VENDOR, "--class", MODEL, "--sequence", sequence, "--image", good, "--uri", f"https://127.0.0.1:{self.web_port}/{name}",
            "--version", f"1.{sequence}.0", "--description", "micropython for micro:bit", "-o", os.path.join(self.dir, "new.suit"))
        if tamper:
            image[len(image) // 2] ^= 1
        open(os.path.join(self.www, name), "wb").write(image)
        os.replace(os.path.join(self.dir, "new.suit"), os.path.join(self.www, "latest.suit"))
        return len(image)

    def update(self, test, seconds=30, what="the verdict"):
        return self.wait(what, lambda: next((u for u in self.items("updates") if test(u)), None), seconds)

    def bar(self, jobs, total_nodes):
        done = sum(j["state"] == "confirmed" for j in jobs)
        sent = sum(j["sent_bytes"] for j in jobs) / max(1, sum(j["total_bytes"] for j in jobs) or 1)
        states = {}
        for j in jobs:
            states[j["state"]] = states.get(j["state"], 0) + 1
        width = 30
        fill = int(width * done / max(1, total_nodes))
        return (f"[{'#' * fill}{'.' * (width - fill)}] {done}/{total_nodes} confirmed, {sent * 100:3.0f} % sent   "
                + " ".join(f"{k} {v}" for k, v in sorted(states.items())))

    def watch(self, update):
        shown, last = 0.0, ""

        def all_done():
            nonlocal shown, last
            jobs = self.items(f"jobs?update={update['id']}")
            line = self.bar(jobs, self.a.nodes)
            if self.tty:
                print("\r\x1b[K         " + line, end="", flush=True)
            elif line != last and time.monotonic() - shown > 2:
                self.say(line)
                shown, last = time.monotonic(), line
            return len(jobs) >= self.a.nodes and all(j["state"] in DONE_STATES for j in jobs) and jobs
        jobs = self.wait("all nodes confirm", all_done, 240 + self.a.nodes * 2 + 20 * self.a.loss)
        if self.tty:
            print()
        return jobs

    def scenario(self):
        a = self.a
        self.say("making a vendor: root, signing certificate, OCSP responder")
        self.make_pki()
        self.start_vendor()
        self.start_daemon()
        self.start_nodes()

        n = self.publish(2)
        self.say(f"the vendor publishes sequence 2, an image of {n} bytes")
        u = self.update(lambda x: x["sequence"] == 2 and x["state"] == "available", 60, "the update becomes available")
        self.check("fetched, judged and cached", True, f"update {u['id'][:12]} signed under anchor \"{u['anchor']}\"")
        jobs = self.watch(u)
        good = sum(j["state"] == "confirmed" for j in jobs)
        self.check("every node runs the new image", good == a.nodes, f"{good} of {a.nodes}")

        self.publish(3, tamper=True)
        self.say("somebody changes one bit of the next image on the vendor's server")
        bad = self.update(lambda x: x["sequence"] == 3 and x["state"] == "held" and "payload" in x["reason"])
        self.check("the tampered image is refused", True, bad["reason"])

        self.publish(1)
        self.say("somebody publishes an old release again")
        bad = self.update(lambda x: x["state"] == "rejected" and "SU-12" in x["reason"])
        self.check("the downgrade is refused", True, bad["reason"])

        self.publish(4, pki=self.foreign)
        self.say("a stranger publishes an image signed with a key of its own")
        bad = self.update(lambda x: x["state"] == "rejected" and "SU-12" not in x["reason"])
        self.check("the foreign signature is refused", True, bad["reason"])
        jobs = self.items("jobs")
        self.check("no node was offered any of them", all(j["update"] == u["id"] for j in jobs), f"{len(jobs)} jobs, all of update {u['id'][:12]}")

        self.pki.revoke()
        self.say("the vendor's signing certificate is revoked")
        r = self.update(lambda x: x["id"] == u["id"] and x["state"] == "recalled" and "revoked" in x["reason"], 90, "the recall")
        self.check("the update is recalled", True, r["reason"])

        out = run(self.bin("dormousectl"), "-s", self.sock, "audit", "verify")
        self.check("the audit log verifies", True, out.strip().splitlines()[-1] if out.strip() else "")
        _, status = self.api("status")
        slow = status["loop_max_microseconds"] / 1000
        self.say(f"longest turn of the event loop: {slow:.1f} ms")

    def stop(self):
        for name, p in reversed(self.children):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for name, p in reversed(self.children):
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()

    def summary(self, error):
        print("\nsummary")
        for what, ok, _ in self.results:
            print(f"  {'ok    ' if ok else 'FAILED'} {what}")
        if error:
            print(f"\n{error}\nlogs are in {self.dir}")
        else:
            print(f"\nall of it happened, in {time.monotonic() - self.started:.0f} s")


def main():
    p = argparse.ArgumentParser(prog="tools/demo")
    p.add_argument("--build", default="build", help=argparse.SUPPRESS)
    p.add_argument("--nodes", type=int, default=20)
    p.add_argument("--sleepers", type=int, default=None, help="how many of them sleep (default: two in five)")
    p.add_argument("--loss", type=float, default=0, help="percent of the nodes' datagrams that are lost")
    p.add_argument("--keep", action="store_true", help="leave everything running at the end")
    a = p.parse_args()
    if a.sleepers is None:
        a.sleepers = a.nodes * 2 // 5
    if os.getuid() == 0:  # from here on nothing needs root
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.environ["HOME"] = "/nonexistent"
    demo = Demo(a)
    error = None
    try:
        demo.scenario()
    except (Failure, OSError) as e:
        error = e
    except KeyboardInterrupt:
        error = "interrupted"
    demo.summary(error)
    if a.keep and not error:
        print(f"\nleft running: {demo.bin('dormousectl')} -s {demo.sock} status\nconfiguration {demo.config}; Enter or Ctrl-C ends it")
        try:
            sys.stdin.readline()
        except KeyboardInterrupt:
            pass
    demo.stop()
    if not error:
        shutil.rmtree(demo.dir, ignore_errors=True)
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
