"""Servers of a vendor: HTTPS with every kind of misbehaviour, an OCSP responder, and publishing what dormousectl signs."""
import base64
import http.server
import os
import random
import re
import socket
import ssl
import threading
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp

from lib import MODEL, VENDOR, ctl, demo, image_bytes, sha256


class Web:
    """An HTTP(S) server on loopback whose every path is either bytes, served well (ETag, Range), or a function(handler)
    that does what it likes with the connection: see the behaviours below."""

    def __init__(self, pki=None):
        self.pki, self.httpd, self.port, self.paths = pki, None, 0, {}
        self.requests = []                      # (method, path, headers), in order
        self.stop_stalling = threading.Event()
        self.lock, self.connections = threading.Lock(), set()
        self.up()

    def up(self):
        if self.httpd:
            return
        web = self

        class Handler(Responder):
            owner = web

        self.httpd = demo.Server(("127.0.0.1", self.port), Handler)
        self.port = self.httpd.server_port
        self.stop_stalling.clear()
        if self.pki:
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ctx.load_cert_chain(self.pki.write("web.pem", self.pki.web.pem()), self.pki.write("web.key", self.pki.web.key_pem()))
            # the handshake belongs to the connection's own thread, or one client that stalls would stall all
            self.httpd.socket = ctx.wrap_socket(self.httpd.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self):
        """Connections are refused from here on; up() takes the same port again."""
        if self.httpd:
            self.stop_stalling.set()
            self.httpd.shutdown()
            self.httpd.server_close()
            self.httpd = None
            with self.lock:
                open_ones = list(self.connections)
            for c in open_ones:  # or a client would go on over the connection it has
                try:
                    c.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it was closing

    def url(self, path=""):
        return f"http{'s' if self.pki else ''}://127.0.0.1:{self.port}/{path}"

    def put(self, path, what):
        self.paths["/" + path.lstrip("/")] = what

    def remove(self, path):
        self.paths.pop("/" + path.lstrip("/"), None)

    def count(self, path=None):
        with self.lock:
            return sum(path is None or p == "/" + path.lstrip("/") for _, p, _ in self.requests)

    def last(self, path):
        with self.lock:
            return next((h for _, p, h in reversed(self.requests) if p == "/" + path.lstrip("/")), None)


class Responder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *args):
        pass

    def setup(self):
        with self.owner.lock:
            self.owner.connections.add(self.request)
        super().setup()

    def finish(self):
        with self.owner.lock:
            self.owner.connections.discard(self.request)
        super().finish()

    def do_GET(self):
        n = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(n) if n else b""
        path = self.path.split("?")[0]
        with self.owner.lock:
            self.owner.requests.append((self.command, path, dict(self.headers)))
        what = self.owner.paths.get(path)
        if what is None and path != "/":  # OCSP over GET appends the request to the path
            what = self.owner.paths.get("/" + path.split("/")[1] + "/*")
        try:
            if what is None:
                self.reply(404, b"no such thing\n")
            elif callable(what):
                what(self)
            else:
                self.serve(what)
        except (OSError, ssl.SSLError):
            self.close_connection = True

    do_POST = do_HEAD = do_GET

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for k, v in headers:
            self.send_header(k, v)
        if not any(k.lower() == "content-length" for k, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self, data, etag=True, ranges=True):
        tag = f'"{sha256(data)[:16]}"'
        headers = [("ETag", tag)] if etag else []
        if etag and self.headers.get("If-None-Match") == tag:
            self.reply(304, b"", headers)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if ranges else None
        if wanted and self.headers.get("If-Range") in (None, tag):
            first = int(wanted[1])
            last = min(int(wanted[2] or len(data) - 1), len(data) - 1)
            if first > last:
                self.reply(416, b"", [("Content-Range", f"bytes */{len(data)}")])
            else:
                self.reply(206, data[first:last + 1], headers + [("Content-Range", f"bytes {first}-{last}/{len(data)}")])
            return
        self.reply(200, data, headers)


# Behaviours: what a path may do instead of being served well.

def stalls(data=b"", after=0):
    """Promises data, sends the first `after` bytes and then nothing, until the server goes down."""
    def act(h):
        h.close_connection = True
        h.send_response(200)
        h.send_header("Content-Length", str(max(len(data), after + 1)))
        h.end_headers()
        h.wfile.write(data[:after])
        h.wfile.flush()
        h.owner.stop_stalling.wait(300)
    return act


def silent(h):
    """Takes the request and never answers."""
    h.close_connection = True
    h.owner.stop_stalling.wait(300)


def truncates(data, after):
    """Promises all of data and closes after a part of it."""
    def act(h):
        h.close_connection = True
        h.reply(200, data[:after], [("Content-Length", str(len(data)))])
    return act


def lies(data, length):
    """Says length, sends data, closes."""
    def act(h):
        h.close_connection = True
        h.reply(200, data, [("Content-Length", str(length))])
    return act


def endless(claimed=None):
    """Sends until the other side has had enough; claimed: the Content-Length, or none at all (until close)."""
    def act(h):
        h.close_connection = True
        h.send_response(200)
        if claimed is not None:
            h.send_header("Content-Length", str(claimed))
        else:
            h.send_header("Connection", "close")
        h.end_headers()
        block = bytes(1 << 16)
        while not h.owner.stop_stalling.is_set():
            h.wfile.write(block)
            with h.owner.lock:
                h.owner.sent = getattr(h.owner, "sent", 0) + len(block)
    return act


def endless_headers(h):
    h.close_connection = True
    h.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not h.owner.stop_stalling.is_set():
        h.wfile.write(b"X-More: " + b"a" * 4000 + b"\r\n")


def redirects(url, status=302):
    return lambda h: h.reply(status, b"", [("Location", url)])


def garbage(h):
    h.close_connection = True
    h.wfile.write(random.Random(7).randbytes(4096))


def answers(status, body=b"broken\n"):
    return lambda h: h.reply(status, body)


def slowly(data, pieces=20, pause_s=0.05):
    """Good, but in pieces with pauses: a slow line."""
    def act(h):
        h.close_connection = True
        h.send_response(200)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        step = max(1, len(data) // pieces)
        for i in range(0, len(data), step):
            h.wfile.write(data[i:i + step])
            h.wfile.flush()
            if h.owner.stop_stalling.wait(pause_s):
                return
    return act


def ignores_range(data):
    return lambda h: h.serve(data, ranges=False)


def first_then(first, rest):
    """first for the first request, rest for all that follow."""
    seen = []

    def act(h):
        what = rest if seen else first
        seen.append(1)
        what(h) if callable(what) else h.serve(what)
    return act


class Ocsp:
    """An OCSP responder on a Web server (plain HTTP): says what `status` of each certificate says, good by default. With
    replay set to bytes, sends just these. down() and up() as the server's."""

    def __init__(self):
        self.web = Web()
        self.pki = None
        self.certs, self.status, self.replay, self.asked = {}, {}, None, 0
        self.life_s, self.age_s = 3600, 0
        self.web.put("ocsp", self._answer)
        self.web.put("ocsp/*", self._answer)
        self.url = self.web.url("ocsp")

    def serve_for(self, pki, *certs):
        self.pki = pki
        for c in certs or (pki.signer,):
            self.certs[c.cert.serial_number] = c

    def set(self, cert, status):
        self.certs[cert.cert.serial_number] = cert
        self.status[cert.cert.serial_number] = status

    def _answer(self, h):
        self.asked += 1
        if self.replay is not None:
            h.reply(200, self.replay, [("Content-Type", "application/ocsp-response")])
            return
        if h.body:
            der = h.body
        else:
            der = base64.b64decode(urllib.parse.unquote(h.path.split("/ocsp/", 1)[1]))
        req = ocsp.load_der_ocsp_request(der)
        try:
            nonce = req.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        except x509.ExtensionNotFound:
            nonce = None
        cert = self.certs.get(req.serial_number)
        if cert is None:
            body = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED).public_bytes(serialization.Encoding.DER)
        else:
            body = self.pki.ocsp_answer(cert, self.status.get(req.serial_number, "good"), age_s=self.age_s, life_s=self.life_s, nonce=nonce)
        h.reply(200, body, [("Content-Type", "application/ocsp-response")])

    def down(self):
        self.web.down()

    def up(self):
        self.web.up()


def author(out, key_pem_file, chain_file, sequence, image_file, uri=None, vendor=VENDOR, model=MODEL, extra=()):
    where = ["--uri", uri] if uri else ["--integrated"]
    args = ["author", "sign", "--key", key_pem_file, "--vendor", vendor, "--class", model, "--sequence", sequence,
            "--image", image_file, *where, "--version", f"1.{sequence}.0", "-o", out, *extra]
    if chain_file:
        args += ["--chain", chain_file]
    ctl(*args)
    with open(out, "rb") as f:
        return f.read()


class Vendor:
    """A vendor: its Pki and its HTTPS server. publish() puts an image and its envelope there."""

    def __init__(self, folder, pki):
        self.folder, self.pki, self.web = folder, pki, Web(pki)
        self.n = 0

    def url(self, path="latest.suit"):
        return self.web.url(path)

    def envelope(self, sequence, image=None, signer=None, chain=None, uri=None, integrated=False, vendor=VENDOR, model=MODEL, extra=()):
        """(envelope, image, image path at the server); nothing is published yet."""
        self.n += 1
        image = image_bytes(20000, sequence) if image is None else image
        signer = signer or self.pki.signer
        name = f"image-{sequence}.bin"
        base = os.path.join(self.folder, f"{self.pki.name}-{self.n}")
        with open(base + ".bin", "wb") as f:
            f.write(image)
        with open(base + ".key", "wb") as f:
            f.write(signer.key_pem())
        with open(base + ".pem", "wb") as f:
            f.write(b"".join(c.pem() for c in (chain or [signer])))
        env = author(base + ".suit", base + ".key", base + ".pem", sequence, base + ".bin",
                     None if integrated else uri or self.url(name), vendor, model, extra)
        return env, image, name

    def publish(self, sequence, path="latest.suit", **kw):
        """A good update; kw as envelope(). Gives the envelope."""
        env, image, name = self.envelope(sequence, **kw)
        self.web.put(name, image)
        self.web.put(path, env)
        return env
