"""IPv6 links of radios with the real daemon: an interface that stands for an OpenThread border router's wpan0 is set up, offered a prefix
on, and goes away in the middle of a job; blocks fit its frames, and its airtime is a budget. Everything lives in network namespaces of
this test; real 802.15.4 is for the lab (tests/lab). Needs the right to make namespaces (root in CI); without it the tests are skipped,
which they say."""
import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import warnings

import pytest

import lib
from test_coap_psk import enrol, keys

CLONE_NEWNET = 0x40000000
GATEWAY, PREFIX = "fd00:7::1", "fd00:7:"
ROW = {"interface": "wpan0", "kind": "thread", "address": GATEWAY + "/64", "advertise": True}
CONFIG = {"coap": {"listen": ["coap://[::]:0", "coaps://[::]:0"]}, "directory": {"open": False, "auto_enrol": False}}


def sh(*args, ok=0):
    return lib.run(*args, ok=ok).stdout


@pytest.fixture(scope="module", autouse=True)
def network():
    """Before any thread or socket: this process, and what it starts, gets a network of its own."""
    missing = [t for t in ("ip", "nsenter", "unshare", "setpriv") if subprocess.run(["which", t], capture_output=True).returncode]
    libc = ctypes.CDLL(None, use_errno=True)
    if missing or libc.unshare(CLONE_NEWNET) != 0:
        why = f"no {', '.join(missing)}" if missing else os.strerror(ctypes.get_errno())
        warnings.warn(f"6LOWPAN NOT TESTED: a network namespace cannot be made: {why}")
        pytest.skip(f"a network namespace cannot be made: {why}")
    sh("ip", "link", "set", "lo", "up")


class Radio:
    """wpan0 here, eth0 in a namespace where a node lives; the node's end has no address but what is advertised."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdout=subprocess.DEVNULL)
        mine = os.readlink("/proc/self/ns/net")
        lib.wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != mine, "a namespace of its own")
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-n"]
        self.make()

    def make(self):
        sh("ip", "link", "add", "wpan0", "type", "veth", "peer", "name", "eth0", "address", "02:00:00:00:00:02", "netns", str(self.holder.pid))
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", "eth0", "up")
        sh("ip", "link", "set", "wpan0", "up")

    def delete(self):
        sh("ip", "link", "del", "wpan0")

    def run(self, *args):
        return sh(*self.enter, *args)

    def address(self):
        """What the node's kernel formed from the prefix; None = nothing yet."""
        found = json.loads(self.run("ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", "global") or "[]")
        ready = [a["local"] for i in found for a in i.get("addr_info", []) if a.get("local", "").startswith(PREFIX) and not a.get("tentative")]
        return ready[0] if ready else None

    def python(self, text, *args):
        """Runs a few lines in the node's namespace."""
        env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
        p = subprocess.run([*self.enter, sys.executable, "-c", text, *map(str, args)], capture_output=True, text=True, timeout=60 * lib.SLOW, env=env)
        assert p.returncode == 0, p.stderr
        return p.stdout.strip()

    def stop(self):
        subprocess.run(["ip", "link", "del", "wpan0"], capture_output=True)
        self.holder.kill()
        self.holder.wait()


class RadioNode(lib.Nodes):
    def __init__(self, radio, *args, **kw):
        super().__init__(*args, **kw)
        self.radio = radio

    def start(self, wait=True):
        args = [*self.radio.enter, lib.binary("dormouse-node"), "--gateway", self.gateway, *self.args]
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen([str(a) for a in args], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            lib.wait_for(lambda: self.ep in {e["endpoint"] for e in self.daemon.items("endpoints")}, "the node registers", 60, [self, self.daemon])
        return self


def view(d):
    return d.get("radios/wpan0")



@pytest.fixture
def radio(world):
    return world.add(Radio())


def a_node(site, radio, **kw):
    d = site.daemon
    lib.wait_for(lambda: radio.address(), "the node's kernel forms an address from the prefix", 30, [d])
    file, psk = keys(site.world.dir, ["n1"], mac=False)
    enrol(d, ["n1"], psk, "signature", False)
    return site.world.add(RadioNode(radio, d, site.world.dir, ep="n1", gateway=f"coaps://[{GATEWAY}]:{d.coaps_port}", psk_hex=psk["n1"],
                                    anchor=site.pki.root_file, **kw)).start()


BLOCKS = """
import socket, sys, lib
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(5 * lib.SLOW)
s.connect((sys.argv[1], int(sys.argv[2])))
for wish in sys.argv[3:]:
    s.send(lib.coap_message(1, ".well-known/core", mid=100 + int(wish), options=[] if int(wish) > 6 else [(23, bytes([int(wish)]))]))
    code, options, payload = lib.coap_parse(s.recv(2048))
    block2 = int.from_bytes(dict(options)[23], "big")
    print(block2 & 7, len(payload))
"""


def test_a_prefix_is_offered_and_blocks_fit_few_frames(radio, make_site):
    """SLP-2: a node without a wish gets 64 bytes; one that asks for less gets less, one that asks for more does not get more."""
    site = make_site(config=dict(CONFIG, lowpan=[ROW]))
    d = site.daemon
    address = lib.wait_for(lambda: radio.address(), "the node's kernel forms an address from the prefix", 30, [d])
    assert address.startswith(PREFIX)
    routes = radio.run("ip", "-6", "route", "show", "default")
    assert "default" not in routes                            # this gateway forwards nothing, and does not say it does
    r = view(d)
    assert (r["kind"], r["state"], r["is_up"], r["is_advertising"], r["address"]) == ("thread", "ready", True, True, GATEWAY + "/64")
    out = radio.python(BLOCKS, GATEWAY, d.coap_port, 7, 6, 2, 0).split("\n")
    assert out == ["2 64", "2 64", "2 64", "0 16"]
    d.configure({"lowpan": [dict(ROW, block_bytes=128)]})     # a reload is enough
    d.post("reload")
    lib.wait_for(lambda: view(d)["block_bytes"] == 128, "it is told", 10, [d])
    assert radio.python(BLOCKS, GATEWAY, d.coap_port, 7, 6).split("\n") == ["3 128", "3 128"]
    # Others are not concerned.
    answer = lib.udp(d.coap_port, lib.coap_message(1, ".well-known/core", mid=9))
    assert len(lib.coap_parse(answer)[2]) > 128


def test_an_interface_goes_away_in_the_middle_of_a_job(radio, make_site):
    """SLP-1: it is deleted and made again, so its index is another; no job is lost, and what was set up is set up again."""
    site = make_site(config=dict(CONFIG, lowpan=[ROW]))
    d, image = site.daemon, lib.image_bytes(150000, 2)
    node = a_node(site, radio, ack_timeout=300)
    index = socket.if_nametoindex("wpan0")
    site.vendor.publish(2, image=image)
    lib.wait_for(lambda: [j for j in d.items("jobs") if j["sent_bytes"] > 10000], "it moves", 60, [d, node])
    jobs = [j["id"] for j in d.items("jobs")]
    radio.delete()
    lib.wait_for(lambda: not view(d)["is_there"], "it is gone", 10, [d])
    assert not [s for s in node.status() if s["sequence"] == 2]
    radio.make()
    lib.wait_for(lambda: view(d)["state"] == "ready" and view(d)["address"], "it is set up again", 20, [d])
    assert socket.if_nametoindex("wpan0") != index
    node.wait_sequence(2, 120)
    assert node.installed() == {"n1": image}
    lib.wait_for(lambda: {j["state"] for j in d.items("jobs")} == {"confirmed"}, "the job is confirmed", 30, [d])
    assert [j["id"] for j in d.items("jobs")] == jobs
    log = d.log_text()
    assert re.search(r"wpan0 \(thread\): gone", log) and log.count("wpan0 (thread): up") >= 2


def metric(d, name):
    return sum(float(v) for v in re.findall(rf"^{name} ([0-9.e+]+)$", d.api("/metrics")[1], re.M))


def flood(count):
    """What is sent on wpan0 is time on air: some 60 ms for each of these packets."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        for _ in range(count):
            s.sendto(bytes(1200), (f"{PREFIX}:2", 9))


def test_new_jobs_wait_for_airtime(radio, make_site):
    """A thousandth of an hour is used up by something else; why-not says so; with a larger budget the job begins."""
    site = make_site(config=dict(CONFIG, lowpan=[dict(ROW, airtime_permille=1)]))
    d = site.daemon
    node = a_node(site, radio)
    sh("ip", "neigh", "replace", f"{PREFIX}:2", "lladdr", "02:00:00:00:00:02", "dev", "wpan0")
    flood(300)
    lib.wait_for(lambda: view(d)["budget"] == "over", "the budget is used up", 30, [d])
    assert view(d)["airtime_ms"] > 3600 and 0 < view(d)["wait_s"] <= 3600
    site.vendor.publish(2, image=lib.image_bytes(4000, 2))
    update = d.wait_update(state="available", sequence=2)["id"]
    why = lib.wait_for(lambda: [b for b in d.get(f"why-not?device=n1&update={update}")["blocks"] if b["rule"] == "airtime"], "why-not names the rule", 20, [d])
    assert "wpan0" in why[0]["text"]
    assert d.items("jobs") == []
    assert "over" in lib.ctl("-s", d.sock, "radios").stdout
    assert "dormouse_radio_over_budget 1" in d.api("/metrics")[1]
    d.configure({"lowpan": [dict(ROW, airtime_permille=900)]})
    d.post("reload")
    node.wait_sequence(2, 60)


def test_blocks_of_an_image_wait_for_airtime(radio, make_site):
    """The budget is used up in the middle: the node is told 5.03, asks again, and goes on where it was once there is airtime."""
    site = make_site(config=dict(CONFIG, lowpan=[dict(ROW, airtime_permille=1)]))
    d, image = site.daemon, lib.image_bytes(2000000, 2)       # its blocks take much longer than 3.6 s
    node = a_node(site, radio)
    site.vendor.publish(2, image=image)
    lib.wait_for(lambda: view(d)["budget"] == "over", "the budget is used up", 60, [d, node])
    sent = [j["sent_bytes"] for j in d.items("jobs")]
    assert len(sent) == 1 and sent[0] < len(image)
    errors = metric(d, "dormouse_coap_errors_total")
    lib.wait_for(lambda: metric(d, "dormouse_coap_errors_total") > errors, "the node is told 5.03, and asks again", 60, [d, node])
    assert d.items("jobs")[0]["sent_bytes"] < len(image)
    d.configure({"lowpan": [dict(ROW, airtime_permille=0)]})
    d.post("reload")
    node.wait_sequence(2, 120)
    assert node.installed() == {"n1": image}


def test_without_the_right_it_says_what_it_lacks(radio, world):
    """The unit's default: no privilege. Everything else works, and what is missing is told by name."""
    bare = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"]
    d = world.daemon(config={"lowpan": [ROW]}, wrapper=bare)
    lib.wait_for(lambda: "CAP_NET_ADMIN" in view(d)["state"], "it names the right", 20, [d])
    assert view(d)["has_error"] and view(d)["is_up"]
    d.wait_log(r"wpan0: adding its address failed: it needs CAP_NET_ADMIN")
    sh("ip", "addr", "add", GATEWAY + "/64", "dev", "wpan0", "nodad")      # somebody else does it
    lib.wait_for(lambda: "CAP_NET_RAW" in view(d)["state"], "then the next one", 70, [d])
    assert d.api("health")[0] == 200
