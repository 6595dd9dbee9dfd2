"""Multicast with the real daemon and real nodes on real sockets. The whole test moves into a network namespace of its own, with a
bridge; the nodes live in further ones, where the kernel (nft) throws some of what arrives away and counts the rest. Nothing is sent on
the machine's own networks. Needs the right to make namespaces (root in CI); without it the tests are skipped, which they say."""
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import warnings

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import lib
from test_coap_psk import enrol, keys

CLONE_NEWNET = 0x40000000
GROUP, PORT = "ff05::4d43", 61616
GATEWAY = "fd00::1"


def sh(*args, ok=0):
    return lib.run(*args, ok=ok).stdout


@pytest.fixture(scope="module", autouse=True)
def network():
    """Before any thread or socket: this process, and what it starts, gets a network with a bridge and nothing else."""
    missing = [t for t in ("ip", "nft", "nsenter", "unshare") if subprocess.run(["which", t], capture_output=True).returncode]
    libc = ctypes.CDLL(None, use_errno=True)
    if missing or libc.unshare(CLONE_NEWNET) != 0:
        why = f"no {', '.join(missing)}" if missing else os.strerror(ctypes.get_errno())
        warnings.warn(f"MULTICAST NOT TESTED: a network namespace cannot be made: {why}")
        pytest.skip(f"a network namespace cannot be made: {why}")
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
    with open("/proc/sys/net/ipv6/conf/br0/keep_addr_on_down", "w") as f:
        f.write("1")
    sh("ip", "addr", "add", GATEWAY + "/64", "dev", "br0", "nodad")
    sh("ip", "link", "set", "br0", "up")


class Space:
    """A namespace with one interface, eth0, on the bridge; loss: percent of the group's frames dropped at its door."""

    def __init__(self, number, loss=0):
        self.name = f"v{number}"
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdout=subprocess.DEVNULL)
        mine = os.readlink("/proc/self/ns/net")
        lib.wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != mine, "a namespace of its own")
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-n"]
        sh("ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        sh("ip", "link", "set", self.name, "master", "br0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "addr", "add", f"fd00::{0x100 + number:x}/64", "dev", "eth0", "nodad")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; "
                 f"add rule inet t in ip6 daddr {GROUP} udp dport {PORT} counter; "
                 + (f"add rule inet t in ip6 daddr {GROUP} udp dport {PORT} numgen random mod 100 < {loss} counter drop" if loss else ""))

    def run(self, *args):
        return sh(*self.enter, *args)

    def frames(self):
        """(that reached this namespace, that were dropped then), by the kernel"""
        n = [int(x) for x in re.findall(r"counter packets (\d+)", self.run("nft", "list", "chain", "inet", "t", "in"))]
        return n[0], n[1] if len(n) > 1 else 0

    def stop(self):
        subprocess.run(["ip", "link", "del", self.name], capture_output=True)
        self.holder.kill()
        self.holder.wait()


class SpaceNodes(lib.Nodes):
    def __init__(self, space, *args, **kw):
        super().__init__(*args, **kw)
        self.space = space

    def start(self, wait=True):
        args = [*self.space.enter, lib.binary("dormouse-node"), "--gateway", self.gateway, *self.args]
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen([str(a) for a in args], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            names = self.names()
            lib.wait_for(lambda: names <= {e["endpoint"] for e in self.daemon.items("endpoints")}, f"{self.count} nodes register", 60,
                         [self, self.daemon])
        return self


CONFIG = {
    "coap": {"listen": ["coap://127.0.0.1:0", f"coaps://[{GATEWAY}]:0"]},
    "directory": {"open": False, "auto_enrol": False},
    "multicast": {"enabled": True, "gather_s": 5, "setup_wait_s": 20, "pull_timeout_s": 20, "lazy_s": 5},
}
ROW = {"name": "lab", "interface": "br0", "address": GROUP, "port": PORT, "link": "ethernet", "pace_ms": 5, "slot_ms": 5, "min_members": 3}


class Lab:
    """A site with nodes of one model spread over namespaces, each node with a key of its own."""

    def __init__(self, make_site, spaces, each, row=None, config=None, start=True):
        tables = {k: dict(v) for k, v in CONFIG.items()}
        for k, v in (config or {}).items():
            tables.setdefault(k, {}).update(v)
        tables["multicast_group"] = [dict(ROW, **(row or {}))]
        self.site = make_site(config=tables)
        self.daemon = self.site.daemon
        self.spaces = [self.site.world.add(Space(i, loss)) for i, loss in enumerate(spaces)]
        names = [f"n{i}-{k:03}" for i in range(len(spaces)) for k in range(each)]
        file, psk = keys(self.site.world.dir, names, mac=False)
        enrol(self.daemon, names, psk, "signature", False)
        self.nodes = []
        for i, space in enumerate(self.spaces):
            n = SpaceNodes(space, self.daemon, self.site.world.dir, each, ep=f"n{i}", gateway=self.daemon.coaps, psk_file=file,
                           anchor=self.site.pki.root_file, multicast="eth0", seed=i + 1)
            self.nodes.append(self.site.world.add(n))
        if start:
            for n in self.nodes:
                n.start()

    def publish(self, sequence, image):
        self.site.vendor.publish(sequence, image=image)
        return self.daemon.wait_update(state="available", sequence=sequence)

    def wait_sequence(self, sequence, seconds=90):
        try:
            for n in self.nodes:
                n.wait_sequence(sequence, seconds)
        except lib.Timeout as e:
            raise lib.Timeout(f"{e}; sessions: {self.sessions()}") from None

    def assert_installed(self, image):
        for n in self.nodes:
            got = n.installed()
            assert len(got) == n.count and set(got.values()) == {image}

    def metric(self, name):
        d = self.daemon
        status, text = d.api("/metrics")
        assert status == 200
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.M))

    def sessions(self):
        return self.daemon.items("multicast/sessions")

    def wait_frames(self, more):
        """In the middle of a session: so many further frames have been sent."""
        begin = self.metric("dormouse_multicast_frames_total")
        lib.wait_for(lambda: self.metric("dormouse_multicast_frames_total") >= begin + more, f"{more} frames", 60, [self.daemon])


def test_one_transmission_for_all(make_site):
    """Nine nodes behind three doors that lose 10 % each: one image, hardly more frames than for one node that loses nothing."""
    lab = Lab(make_site, [10, 10, 10], 3)
    image = lib.image_bytes(64 * 1024, 7)
    u = lab.publish(3, image)
    lab.wait_sequence(3)
    lab.assert_installed(image)
    frames = lab.metric("dormouse_multicast_frames_total")
    fragments = len(image) // 64
    assert fragments < frames < 1.5 * fragments, frames
    for s in lab.spaces:
        came, dropped = s.frames()
        assert came == frames, "the kernel counts what the daemon says it sent"
        assert 0.05 * came < dropped < 0.15 * came
    # by unicast only what single nodes lacked at the end
    assert lab.metric("dormouse_image_bytes_sent_total") < len(image)
    lib.wait_for(lambda: {j["state"] for j in lab.daemon.items("jobs")} == {"confirmed"}, "all confirmed", 30, [lab.daemon])
    assert re.search(r"multicast group lab, session [0-9a-f]{16}: done: 9 of 9 devices ready", lab.daemon.log_text()) or \
        lib.wait_for(lambda: re.search(r"lab, session [0-9a-f]{16}: done: 9 of 9 devices ready", lab.daemon.log_text()), "the session ends", 60)
    assert u["id"] and lab.daemon.audit()
    # the group's key was told over each node's own association; a second image needs no more than the first
    lab.site.vendor.publish(4, image=image[::-1])
    lab.wait_sequence(4)
    assert len(set(re.findall(r"session ([0-9a-f]{16})", lab.daemon.log_text()))) == 2


def test_kill_9_of_a_node_and_of_the_gateway_in_the_middle(make_site):
    lab = Lab(make_site, [5, 5, 5], 2)
    image = lib.image_bytes(96 * 1024, 8)
    lab.publish(3, image)
    lab.wait_frames(200)
    lab.nodes[0].kill9()
    lab.wait_frames(100)
    lab.nodes[0].start(wait=False)
    lab.wait_frames(100)
    before = len(re.findall(r"session [0-9a-f]{16}: begins", lab.daemon.log_text()))
    lab.daemon.kill9()
    lab.daemon.start()
    lab.wait_sequence(3, 300)  # a node notices that it is forgotten when the gateway does not answer it any more
    lab.assert_installed(image)
    log = lab.daemon.log_text()
    assert re.search(r"session [0-9a-f]{16}: goes on", log), "the session was found in the store"
    assert len(re.findall(r"session [0-9a-f]{16}: begins", log)) == before


def test_a_recall_in_the_middle_ends_it(make_site):
    lab = Lab(make_site, [0, 0], 2)
    u = lab.publish(3, lib.image_bytes(96 * 1024, 9))
    lab.wait_frames(200)
    lab.daemon.post(f"updates/{u['id']}/recall", {"reason": "burns"})
    lib.wait_for(lambda: not lab.sessions(), "no session is left", 30, [lab.daemon])
    frames = lab.metric("dormouse_multicast_frames_total")
    assert frames < 96 * 1024 // 64
    image = lib.image_bytes(20000, 10)
    lab.publish(4, image)
    lab.wait_sequence(4)
    lab.assert_installed(image)
    assert all(n["sequence"] == 4 for nodes in lab.nodes for n in nodes.status())


class Insider:
    """A device that was in the group and goes on to send with the key that it was told in the setup."""

    def __init__(self, state):
        with open(os.path.join(state, "mcast-setup"), "rb") as f:
            setup = f.read()
        at, key = setup.index(b"\x01\x48") + 2, setup.index(b"\x0b\x50") + 2
        self.sid = setup[at:at + 8]
        self.mk = HKDF(hashes.SHA256(), 16, self.sid, b"mcd1-mic").derive(setup[key:key + 16])
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("br0"))

    def say(self, frame, mic):
        c = CMAC(AES(self.mk))
        c.update(self.sid + frame)
        self.sock.sendto(b"\x50\x02\x12\x34\xb1m\xff" + frame + c.finalize()[:mic], (GROUP, PORT))

    def spoil(self, g, number):
        self.say(bytes([8, self.sid[7], g]) + struct.pack("<H", (g & 3) << 14 | number) + bytes(64), 4)

    def abort(self):
        self.say(bytes([0x43, self.sid[7], 2]), 8)


def test_a_device_that_is_removed_in_the_middle_takes_no_part_any_more(make_site):
    """MCD-10: the others are told a new key, and finish by multicast; what is sent with the old one is not believed."""
    lab = Lab(make_site, [0, 0], 3)
    d, image = lab.daemon, lib.image_bytes(96 * 1024, 14)
    lab.publish(3, image)
    lab.wait_frames(200)
    insider = Insider(os.path.join(lab.nodes[0].state, "n0-000"))
    lib.ctl("-s", d.sock, "devices", "remove", "n0-000")
    d.wait_log("multicast group lab: new key [0-9]+, without n0-000")
    frames = lab.metric("dormouse_multicast_frames_total")
    lab.wait_frames(50)  # all are told, and it goes on
    others = [n for nodes in lab.nodes for n in nodes.names() if n != "n0-000"]
    lib.wait_for(lambda: [insider.spoil(g, 500 - i) for g in range(3) for i in range(5)] and insider.abort() is None and
                 lab.metric("dormouse_multicast_frames_total") >= frames + 300, "300 frames", 60, [d])
    lib.wait_for(lambda: sum(n["sequence"] == 3 for nodes in lab.nodes for n in nodes.status() if n["name"] in others) == len(others),
                 "the others are updated", 90, [d])
    d.wait_log(r"session [0-9a-f]{16}: done: 5 of", 60)
    assert lab.metric("dormouse_multicast_frames_total") < 1.3 * len(image) / 64
    assert lab.metric("dormouse_image_bytes_sent_total") == 0
    for nodes in lab.nodes:
        assert all(got == image for name, got in nodes.installed().items() if name in others)
        assert "does not match its digest" not in nodes.log_text()


def test_an_interface_that_goes_away_and_comes_back(make_site):
    lab = Lab(make_site, [0, 0], 2)
    image = lib.image_bytes(96 * 1024, 11)
    lab.publish(3, image)
    lab.wait_frames(200)
    sh("ip", "link", "set", "br0", "down")
    try:
        lab.daemon.wait_log("multicast group lab: br0 cannot be used")
    finally:
        sh("ip", "link", "set", "br0", "up")
    lab.daemon.wait_log("multicast group lab: br0 works again")
    lab.wait_sequence(3, 150)
    lab.assert_installed(image)


def test_without_the_interface_everybody_is_served_one_by_one(make_site):
    lab = Lab(make_site, [0, 0], 2, row={"interface": "none0"})
    image = lib.image_bytes(20000, 12)
    lab.publish(3, image)
    lab.wait_sequence(3)
    lab.assert_installed(image)
    assert lab.metric("dormouse_multicast_frames_total") == 0
    assert len(re.findall("none0 cannot be used", lab.daemon.log_text())) == 1


class Liar(threading.Thread):
    """A device that registers, joins, and then claims in every report to lack everything. Plain CoAP, message by message."""

    def __init__(self, port, name):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.connect((GATEWAY, port))
        self.sock.settimeout(0.02)
        self.name_, self.mid, self.sid, self.reports, self.ended = name, 0, None, 0, threading.Event()

    def options(self, path, query=(), cf=None):
        out, last = b"", 0
        for number, value in [(11, p.encode()) for p in path.split("/")] + ([(12, bytes([cf]))] if cf else []) + \
                [(15, q.encode()) for q in query]:
            n = len(value)
            out += bytes([(number - last) << 4 | (n if n < 13 else 13)]) + (bytes([n - 13]) if n >= 13 else b"") + value
            last = number
        return out

    def tell(self, kind, code, path, query=(), cf=None, payload=b""):
        self.mid += 1
        self.sock.send(bytes([0x40 | kind << 4, code]) + struct.pack(">H", self.mid) + self.options(path, query, cf)
                       + (b"\xff" + payload if payload else b""))

    def run(self):
        model = [f"vid={lib.vendor_uuid()}", f"cid={lib.class_uuid()}", "seq=1"]
        self.tell(0, 2, "rd", [f"ep={self.name_}", *model], 40, b'</mc>;rt="mcd.n"')
        self.tell(0, 1, "fw", [f"ep={self.name_}"])
        seq = 0
        while not self.ended.is_set():
            try:
                m = self.sock.recv(2000)
            except TimeoutError:
                m = b""
            if len(m) > 4 and m[0] >> 4 & 3 == 0 and m[1] == 2:  # POST mc: { 1: sid, ... }
                at = m.find(b"\xff") + 2
                self.sid = m[at + 2:at + 10] if m[at:at + 2] == b"\x01\x48" else self.sid
                token = m[4:4 + (m[0] & 15)]
                self.sock.send(bytes([0x60 | len(token), 0x41]) + m[2:4] + token + b"\xc1\x3c\xff" + b"\xa2\x01\x48" + self.sid + b"\x02\x00")
            elif len(m) > 4 and m[0] >> 4 & 3 == 0:  # a confirmable answer
                self.sock.send(bytes([0x60, 0]) + m[2:4])
            if self.sid:
                seq = seq % 255 + 1
                uint = bytes([seq]) if seq < 24 else bytes([0x18, seq])
                self.tell(1, 2, "mc/r", [f"ep={self.name_}"], 60, b"\x85\x48" + self.sid + uint + b"\x19\x03\xe8\x00\xa1\x00\x19\x02\x00")
                self.reports += 1

    def stop(self):
        self.ended.set()
        self.join(5)
        self.sock.close()


def test_a_lying_node_holds_nobody_back(make_site):
    """It may cost some frames; the others have the image all the same, and the liar is pointed at."""
    lab = Lab(make_site, [5, 5], 2, config={"coap": {"listen": ["coap://127.0.0.1:0", f"coap://[{GATEWAY}]:0", f"coaps://[{GATEWAY}]:0"]},
                                            "directory": {"open": True, "open_anywhere": True}})
    d = lab.daemon
    port = next(int(a.rsplit(":", 1)[1]) for a in d.status_at_start["coap"] if a.startswith(f"coap://[{GATEWAY}]"))
    body = {"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid())}
    assert d.api("devices/liar", "PUT", body)[0] == 200
    liar = lab.site.world.add(Liar(port, "liar"))
    liar.start()
    lib.wait_for(lambda: "liar" in {e["endpoint"] for e in d.items("endpoints")}, "the liar registers", 20, [d])
    image = lib.image_bytes(64 * 1024, 13)
    lab.publish(3, image)
    lab.wait_sequence(3, 150)
    lab.assert_installed(image)
    assert liar.reports > 20
    assert lab.metric("dormouse_multicast_frames_total") < 2.5 * len(image) / 64
    d.wait_log("what liar reports is in doubt|liar: .* -> (pulling|failed)", 60)


def test_the_server_answers_no_group(make_site):
    """A request to a group that a program of this machine has joined reaches no server of ours, whatever it asks."""
    lab = Lab(make_site, [0], 2, config={"coap": {"listen": ["coap://127.0.0.1:0", f"coap://[::]:{PORT}", f"coaps://[{GATEWAY}]:0"]},
                                         "directory": {"open": True, "open_anywhere": True}})
    joined = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    index = socket.if_nametoindex("br0")
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", index))
    asker = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    asker.settimeout(1)
    asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    for kind in (0x50, 0x40):  # NON, CON: GET /.well-known/core, then POST /m
        asker.sendto(bytes([kind, 1, 0x12, kind]) + b"\xbb.well-known\x04core", (GROUP, PORT))
        asker.sendto(bytes([kind, 2, 0x13, kind]) + b"\xb1m\xff\x43\x00\x00", (GROUP, PORT))
    with pytest.raises(TimeoutError):
        print(asker.recv(1000))
    asker.sendto(bytes([0x40, 1, 0x14, 0]) + b"\xbb.well-known\x04core", (GATEWAY, PORT))
    assert asker.recv(2000)[1] == 0x45, "asked alone, it answers"
    lab.daemon.check_alive()
    os.kill(lab.daemon.pid, signal.SIGHUP)
    lab.daemon.wait_log("configuration read again")
