"""Datagrams no honest client sends: seeded garbage, the packets that kill libcoap's own block handling, floods of blocks, of
handshakes and of registrations. The daemon lives, answers honest nodes all the while, and its memory is bounded."""
import os
import random
import select
import socket
import struct
import time

import cbor2

import coapc
import lib

GET, POST, PUT, DELETE, FETCH = 1, 2, 3, 4, 5
OBSERVE, CF, QUERY, ACCEPT, BLOCK2, BLOCK1, PROXY, SIZE1, ETAG, ECHO = 6, 12, 15, 17, 23, 27, 35, 60, 4, 252
PACKETS = 20000


def opt_uint(n):
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


def block(number, more, szx):
    return opt_uint(number << 4 | more << 3 | szx)


def alive(d):
    answer = lib.udp(d.coap_port, lib.coap_message(GET, ".well-known/core", mid=random.randrange(65536), token=b"al"))
    assert answer and answer[1] == 0x45 and answer[4:6] == b"al", answer
    d.check_alive()


class Sender:
    """Sockets with ports of their own; what comes back is thrown away."""

    def __init__(self, port, n=1):
        self.socks = []
        for _ in range(n):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setblocking(False)
            s.connect(("127.0.0.1", port))
            self.socks.append(s)

    def send(self, data, i=0):
        s = self.socks[i % len(self.socks)]
        try:
            s.send(data)
            while True:
                s.recv(65536)
        except (BlockingIOError, ConnectionRefusedError):
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.socks:
            s.close()


def random_options(r):
    some = [(OBSERVE, opt_uint(r.choice([0, 0, 1, 7]))), (CF, opt_uint(r.choice([0, 40, 60, 65051, 65052, 99999]))), (QUERY, b"ep=n%d" % r.randrange(9)),
            (QUERY, r.choice([b"lt=60", b"count=1", b"page=0", b"rt=*", b"base=coap://[::1]", b"=", b"", b"d=" + b"x" * 70])),
            (ACCEPT, opt_uint(r.choice([40, 60, 0, 7]))), (BLOCK2, r.randbytes(r.randrange(4))), (BLOCK1, r.randbytes(r.randrange(4))),
            (BLOCK1, block(r.randrange(4), r.randrange(2), r.randrange(8))), (BLOCK2, block(r.randrange(70000), 0, r.randrange(8))),
            (PROXY, r.choice([b"coap://x/", b"ble:/x", b"http://" + b"h" * 200, b""])), (SIZE1, r.randbytes(r.randrange(5))),
            (ETAG, r.randbytes(r.randrange(10))), (1, r.randbytes(3)), (5, b""), (292, r.randbytes(4)), (252, r.randbytes(9)),
            (r.randrange(65000), r.randbytes(r.randrange(300)))]
    return r.sample(some, r.randrange(6))


def garbage(r):
    kind = r.randrange(4)
    if kind == 0:
        return r.randbytes(r.randrange(80))
    path = r.choice(["rd", "rd-lookup/ep", "rd-lookup/res", ".well-known/core", "fw", "fw/r", "fw/i/" + "0" * 64, "rd/0123456789abcdef", "admin/x", "", "x"])
    body = r.choice([b"", b"</a>", b"</a>;rt=", b"\xbf\xbf\xbf", cbor2.dumps({0: b"x" * 32, 1: 1, 2: 0}), r.randbytes(r.randrange(1200))])
    m = bytearray(lib.coap_message(r.choice([GET, POST, PUT, DELETE, FETCH, 6, 7, 0, 0x45, 0x7f]), path, body, kind=r.randrange(4),
                                   mid=r.randrange(65536), token=r.randbytes(r.randrange(9)), options=random_options(r)))
    if kind == 1:                       # as it is
        return bytes(m)
    if kind == 2:                       # cut
        return bytes(m[:r.randrange(len(m) + 1)])
    for _ in range(r.randrange(1, 5)):  # bits turned
        m[r.randrange(len(m))] ^= 1 << r.randrange(8)
    return bytes(m)


def test_garbage_disturbs_nobody(site):
    """20,000 datagrams by seed from eight addresses while nodes get their update."""
    d, r = site.daemon, random.Random(20240607)
    nodes = site.nodes(4)
    site.vendor.publish(3, image=lib.image_bytes(60000, 3))
    with Sender(d.coap_port, 8) as s, Sender(d.coaps_port, 8) as dtls:
        for i in range(PACKETS):
            packet = garbage(r)
            s.send(packet, i)
            if i % 10 == 0:
                dtls.send(packet, i)
            if i % 1000 == 0:
                alive(d)
    nodes.wait_sequence(3)
    alive(d)
    assert d.memory() < 256 << 20
    lib.wait_for(lambda: {j["state"] for j in d.items("jobs") if j["device"].startswith("node-")} == {"confirmed"}, "all confirmed", 30, [d])


def test_the_packets_that_kill_libcoap(site):
    """T1: two empty Block1 datagrams. T2: a transfer under way, then a proxied one, on one session. T3: an observed resource
    that turns into an error."""
    d = site.daemon
    with Sender(d.coap_port, 1) as s:
        for path in (".well-known/core", "rd", "rd-lookup/ep", "fw", "fw/r", "fw/i/" + "0" * 64, "nowhere", "admin/updates"):
            for code in (GET, POST, PUT, DELETE, FETCH):
                for szx in (0, 6):
                    s.send(lib.coap_message(code, path, mid=1, token=b"1", options=[(BLOCK1, block(0, 1, szx))]))
                    s.send(lib.coap_message(code, path, mid=2, token=b"1", options=[(BLOCK1, block(0, 0, szx))]))
                    s.send(lib.coap_message(code, path, b"x", mid=3, token=b"1", options=[(BLOCK1, block(1, 0, szx))]))
                alive(d)
        for method in (POST, PUT, FETCH):
            s.send(lib.coap_message(method, "rd", b"</a>;x=1,<" + b"b" * 6, mid=9, token=b"2", options=[(BLOCK1, block(0, 1, 0)), (QUERY, b"ep=t2")]))
            s.send(lib.coap_message(method, "", b"y" * 16, mid=10, token=b"3", options=[(BLOCK1, block(0, 1, 0)), (PROXY, b"http://vendor.example/fw")]))
            s.send(lib.coap_message(method, "", b"y" * 16, mid=11, token=b"4", options=[(BLOCK1, block(1, 0, 0)), (39, b"coap"), (3, b"other")]))
            alive(d)
        # T3: observers of everything that can be observed, then what they observe goes away
        assert lib.udp(d.coap_port, lib.coap_message(POST, "rd", b"</a>", mid=20, options=[(QUERY, b"ep=t3"), (CF, b"\x28")]))[1] == 0x41
        for i, (path, q) in enumerate((("fw", b"ep=t3"), ("rd-lookup/ep", b"ep=t3"), ("rd-lookup/res", b"ep=t3"), (".well-known/core", b"rt=x"))):
            for n in range(20):
                s.send(lib.coap_message(GET, path, mid=100 + i * 20 + n, token=bytes([i, n]), options=[(OBSERVE, b""), (QUERY, q), (ETAG, bytes(8))]))
        alive(d)
        for state in ("quarantined", "retired"):
            assert d.api("devices/t3/state", "POST", {"state": state})[0] == 200
        assert d.api("devices/t3", "DELETE")[0] == 200
        for _ in range(30):
            s.send(lib.coap_message(POST, "rd", b"</b>", mid=random.randrange(65536), options=[(QUERY, b"ep=t3"), (CF, b"\x28")]))
            alive(d)


def test_block1_floods_cost_what_the_configuration_allows(world):
    """Unfinished bodies of 900 peers: no more than block1_total_bytes, 5.03 beyond it; who is honest waits some seconds at most."""
    d = world.daemon({"coap": {"block1_total_bytes": "1 MiB", "block1_peer_bytes": "16 KiB", "max_sessions": 2000}})
    before = d.memory()
    with Sender(d.coap_port, 900) as s:
        for number in range(20):
            for i in range(len(s.socks)):
                s.send(lib.coap_message(POST, "rd", b"<" + b"a" * 1023, mid=number, token=struct.pack("!H", i),
                                        options=[(BLOCK1, block(number, 1, 6)), (QUERY, b"ep=flood%d" % i), (CF, b"\x28")]), i)
            alive(d)
            assert gauge(d, "dormouse_coap_block1_bytes") <= 1 << 20
    if not lib.is_sanitized():
        assert d.memory() - before < 24 << 20
    links = ",".join(f"</{'path' * 8}/{i}>" for i in range(40))
    lib.wait_for(lambda: coapc.request(f"{d.coap}/rd?ep=honest", "post", links, ct=40, block=64).code == "2.01", "an honest peer", 30, [d])
    assert [e["endpoint"] for e in d.items("endpoints")] == ["honest"]


def gauge(d, name):
    return float(next(line.split()[1] for line in d.api("/metrics")[1].splitlines() if line.startswith(name + " ")))


def test_one_peer_cannot_take_all_of_it(world):
    d = world.daemon({"coap": {"block1_peer_bytes": "16 KiB"}})
    with Sender(d.coap_port, 1) as s:
        for token in range(200):
            for number in range(3):
                s.send(lib.coap_message(POST, "rd", b"<" + b"a" * 1023, mid=token * 3 + number, token=bytes([token]),
                                        options=[(BLOCK1, block(number, 1, 6)), (QUERY, b"ep=t%d" % token), (CF, b"\x28")]))
    alive(d)
    assert gauge(d, "dormouse_coap_block1_bytes") <= 16 << 10


def client_hello(r):
    body = b"\xfe\xfd" + r.randbytes(32) + b"\0" + b"\0" + b"\0\x04\xc0\xa8\0\xae" + b"\x01\0"
    hello = b"\x01" + len(body).to_bytes(3, "big") + b"\0\0" + b"\0\0\0" + len(body).to_bytes(3, "big") + body
    return b"\x16\xfe\xfd\0\0" + bytes(6) + len(hello).to_bytes(2, "big") + hello


def test_handshakes_that_never_end(world):
    """3,000 ClientHellos by 900 peers that say nothing more; one with a key gets in all the same."""
    d = world.daemon()
    key = "0123456789abcdef"
    assert d.api("devices/good", "PUT", {"identity": "good"})[0] == 200
    assert d.api("credentials/good", "PUT", {"secret_hex": key.encode().hex(), "device": "good"})[0] == 200
    before, r = d.memory(), random.Random(5)
    with Sender(d.coaps_port, 900) as s:
        for i in range(3000):
            s.send(client_hello(r), i)
        assert coapc.request(f"{d.coaps}/rd?ep=good", "post", "</x>", ct=40, psk=("good", key), seconds=20).code == "2.01"
    alive(d)
    if not lib.is_sanitized():
        assert d.memory() - before < 24 << 20


class Registrar:
    """Registers from one socket, as fast as answers come: counts them by code."""

    def __init__(self, port):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.codes = {}
        self.answer = {}

    def run(self, names, window=64):
        waiting, n, end = 0, 0, time.monotonic() + 240 * lib.SLOW
        it = iter(names)
        more = True
        while more or waiting > 0:
            while more and waiting < window:
                name = next(it, None)
                if name is None:
                    more = False
                    break
                n = (n + 1) & 0xffff
                head = struct.pack("!BBH", 0x40, POST, n)
                q = b"ep=" + name
                self.sock.send(head + b"\xb2rd" + b"\x11\x28" + bytes([0x3d, len(q) - 13] if len(q) >= 13 else [0x30 | len(q)]) + q + b"\xff</a>")
                waiting += 1
            select.select([self.sock], [], [], 1)
            try:
                while True:
                    m = self.sock.recv(2048)
                    if m[1]:
                        waiting -= 1
                        code = f"{m[1] >> 5}.{m[1] & 31:02}"
                        self.codes[code] = self.codes.get(code, 0) + 1
                        self.answer.setdefault(code, m)
            except BlockingIOError:
                pass
            assert time.monotonic() < end, f"{waiting} answers are missing; {self.codes}"
        return self.codes


def test_endpoints_stop_at_the_limit(world):
    """A million registrations (or DORMOUSE_ENDPOINTS) against 10,000 places. What is over is refused with 5.03 and Max-Age,
    costs no memory, and those who are in go on as before, also in the middle of the flood."""
    many = 20000 if lib.is_sanitized() else int(os.environ.get("DORMOUSE_ENDPOINTS", "1000000"))
    places = 1000 if lib.is_sanitized() else 10000
    d = world.daemon({"directory": {"max_endpoints": places, "durable": "memory", "auto_enrol": False}, "log": {"level": "warning"}})
    r = Registrar(d.coap_port)
    assert r.run(b"inside%d" % i for i in range(places)) == {"2.01": places}
    # by then the answers kept for repeated requests have taken their 16 MiB
    assert Registrar(d.coap_port).run(b"before%d" % i for i in range(many // 2)) == {"5.03": many // 2}
    full = d.memory()
    codes, insider, slowest = Registrar(d.coap_port), Registrar(d.coap_port), 0.0

    def flood():
        nonlocal slowest
        for i in range(many // 2):
            if i % (many // 40) == 0:
                begin, was = time.monotonic(), insider.codes.get("2.01", 0)
                assert insider.run([b"inside%d" % (i % 1000)])["2.01"] == was + 1
                slowest = max(slowest, time.monotonic() - begin)
            yield b"outside%d" % i

    began = time.monotonic()
    assert codes.run(flood()) == {"5.03": many // 2}
    print(f"\n{many} refused, the last half in {time.monotonic() - began:.1f} s; one that is in waited {slowest * 1000:.0f} ms at most; "
          f"resident {full >> 10} KiB, then {d.memory() >> 10} KiB")
    assert codes.answer["5.03"][4] in (0xd1, 0xe1, 0xd0) and b"full" in codes.answer["5.03"]          # Max-Age (14) first, then why
    if not lib.is_sanitized():
        assert d.memory() - full < 4 << 20 and full < 96 << 20, (full, d.memory())
    assert d.get("status")["endpoints"] == places
    again = Registrar(d.coap_port)
    assert again.run(b"inside%d" % i for i in range(places)) == {"2.01": places}       # the same place again
    one = d.items("endpoints")[0]["location"]
    assert coapc.request(f"{d.coap}/rd/{one}", "delete").code == "2.02"
    assert Registrar(d.coap_port).run([b"newcomer", b"too-late"]) == {"2.01": 1, "5.03": 1}
    assert d.log_text().count("refused") < 20                                       # said, not shouted


def test_changes_can_be_asked_to_be_fresh(world):
    """RD-49: a change without an Echo, with another peer's, or with one grown old is not made; nodes repeat it by themselves."""
    d = world.daemon({"directory": {"freshness_s": 2}})
    message = lambda code, path, mid, options=(): lib.coap_message(code, path, b"</a>" if code == POST else b"", mid=mid,
                                                                   options=[(CF, b"\x28"), (QUERY, b"ep=fresh")] + list(options))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        def ask(sock, data):
            sock.settimeout(5 * lib.SLOW)
            sock.sendto(data, ("127.0.0.1", d.coap_port))
            code, options, _ = lib.coap_parse(sock.recv(2048))
            return code, dict(options)

        code, options = ask(s, message(POST, "rd", 1))
        assert code == 0x81 and options[ECHO] and not d.items("endpoints")
        echo = (ECHO, options[ECHO])
        assert ask(thief, message(POST, "rd", 1, [echo]))[0] == 0x81                 # bound to the peer
        code, options = ask(s, message(POST, "rd", 2, [echo]))
        assert code == 0x41 and len(d.items("endpoints")) == 1
        mid = iter(range(3, 10000))
        lib.wait_for(lambda: ask(s, message(POST, "rd", next(mid), [echo]))[0] == 0x81, "the old Echo refused", 20, [d])
        assert ask(s, message(DELETE, "rd/none", next(mid)))[0] == 0x81
        assert ask(s, message(GET, "rd-lookup/ep", next(mid)))[0] == 0x45            # reading changes nothing
    world.nodes(d, 2)
    lib.wait_for(lambda: len(d.items("endpoints")) == 3, "the nodes", 30, [d])


def test_one_credential_has_its_share(world):
    """RD-87: a key for commissioning may register others, up to its share; others have theirs."""
    people = os.path.join(world.dir, "people")
    with open(people, "w") as f:
        f.writelines(f"{who} admin {key.encode().hex()}\n" for who, key in (("tool", "commissioning-tool"), ("other", "another-one-of-them")))
    os.chmod(people, 0o600)
    d = world.daemon({"directory": {"max_per_credential": 3}, "admin": {"credentials_file": people}})
    register = lambda ep, who: coapc.request(f"{d.coaps}/rd?ep={ep}", "post", "</a>", ct=40, psk=who).code
    tool, other = ("tool", "commissioning-tool"), ("other", "another-one-of-them")
    assert [register(f"share{i}", tool) for i in range(5)] == ["2.01"] * 3 + ["4.29"] * 2
    assert register("share9", other) == "2.01" and register("share0", tool) == "2.01"


def test_devices_that_are_only_seen_are_bounded(world):
    """Without auto_enrol the unknown are noted, up to a limit, the oldest forgotten."""
    d = world.daemon({"directory": {"auto_enrol": False, "durable": "memory"}, "log": {"level": "warning"}})
    assert Registrar(d.coap_port).run(b"seen%d" % i for i in range(3000)) == {"2.01": 3000}
    assert d.get("status")["devices"] <= 1000
    assert {x["state"] for x in d.items("devices")} == {"seen"}
