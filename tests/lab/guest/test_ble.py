"""Updates over Bluetooth LE: BlueZ and the kernel's stack at both ends, nodes that are not ours, and what goes wrong in the middle.
The gateway is a user without privileges. The tests share one field and go in order. BLZ-2, BLZ-5 to BLZ-7, BLZ-11 to BLZ-13, SMP-7,
SMP-8, SMP-15, NDFU-2 to NDFU-4."""
import json
import os
import select
import subprocess
import time

import pytest

import ble_field
import lib
import nordic_package
from ble_field import mcuboot
from ble_peripheral import OWN

IMAGE_BYTES, FIRMWARE_BYTES = 65536, 40000


@pytest.fixture(scope="module")
def field(request):
    folder = "/run/field"
    os.mkdir(folder)
    f = ble_field.Field(folder, 8)
    try:
        lib.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder + "/tag.pem")
        lib.run("openssl", "ec", "-in", folder + "/tag.pem", "-pubout", "-out", folder + "/tag-public.pem")
        f.meter = f.add(ble_field.Smp, "meter", 1)
        f.slow = f.add(ble_field.Smp, "slow", 2, "--buf-size", 512, "--write-ms", 30)
        f.crash = f.add(ble_field.Smp, "crash", 3, "--is", "crashes", "--pairs")
        f.tag = f.add(ble_field.Nordic, "tag", 4, "--other", "hci5", "--key", folder + "/tag-public.pem", "--cut-at", FIRMWARE_BYTES // 2)
        f.bulb = f.add(ble_field.Nordic, "bulb", 6, "--is", "loses")
        f.old = f.add(ble_field.Nordic, "old", 7, "--legacy")
        f.wait_on_air()
        f.bare = bare_stream(f)
        f.start_gateway({"ble": {"links": 2}})
        for node in (f.meter, f.slow, f.crash):
            f.enrol(node, "smp-ble")
        yield f
        if request.session.testsfailed:
            f.logs()
    finally:
        f.stop()


def bare_stream(f):
    """KiB/s of writes without response alone; and that nodes and emulation are sound."""
    c, n = f.client.connect(f.meter.address), 400
    assert c.read("00002a26-0000-1000-8000-00805f9b34fb") == b"1.0.0"
    fd, size = c.stream(OWN % 4)
    start = time.monotonic()
    for _ in range(n):
        os.write(fd, b"x" * size)
    c.wait(lambda: int(c.read(OWN % 4)) >= n * size, "all bytes are there")
    seconds = time.monotonic() - start
    os.close(fd)
    c.disconnect()
    return n * size / 1024 / seconds


class Counts:
    """What a node counted since."""

    def __init__(self, node):
        self.node, self.before = node, node.status()

    def __getattr__(self, name):
        return self.node.status()[name] - self.before[name]


# ---- SMP

class Update:
    """One update of one SMP node: published, waited for."""
    version = 1

    def __init__(self, f, node, n=IMAGE_BYTES):
        Update.version += 1
        self.f, self.node, self.count = f, node, Counts(node)
        self.image = mcuboot((1, Update.version, 0), n, Update.version)
        f.publish(node, self.image)

    def wait_moving(self):
        self.f.wait_status(self.node, lambda s: s["off"] > len(self.image) / 4, "a quarter is there")

    def check_done(self, seconds=60):
        job = self.f.wait_job(self.node, "confirmed", seconds)
        assert self.node.flash("slot-0") == self.image
        self.f.wait_status(self.node, lambda s: s["confirmed"], "the node tells")
        c = self.count
        assert (c.swaps, c.tests, c.confirms, c.reverts) == (1, 1, 1, 0)
        return job

    def check_resumed(self):
        """It ends well, and nothing was sent twice but what was under way."""
        self.check_done()
        c = self.count
        assert c.uploads == 1 and c.resumed >= 1 and c.bytes == len(self.image), self.node.status()
        assert self.node.status()["offsets"][-1] > len(self.image) / 4


def test_a_node_is_taken_through_a_whole_update(field):
    u = Update(field, field.meter)
    field.wait_status(field.meter, lambda s: s["bytes"] > 0, "the upload begins")
    start = time.monotonic()
    field.wait_status(field.meter, lambda s: s["tests"] > 0, "the upload is done")
    seconds = time.monotonic() - start
    u.check_done()
    assert u.count.uploads == 1 and u.count.wrong_off == 0
    rate = IMAGE_BYTES / 1024 / seconds
    ble_field.figure(f"smp-ble: {IMAGE_BYTES // 1024} KiB in {u.count.requests} messages of up to 2475 bytes: {rate:.1f} KiB/s, {rate / field.bare:.2f} "
                     f"of a bare stream of writes ({field.bare:.0f} KiB/s)")


def test_bluetoothd_is_killed_in_the_middle(field):
    """Links, adapters and nodes are gone, and come back: the job goes on where it was."""
    u = Update(field, field.slow)
    u.wait_moving()
    field.kill_bluetoothd()
    u.check_resumed()


def test_the_adapter_is_switched_off_in_the_middle(field):
    u = Update(field, field.slow)
    u.wait_moving()
    field.client.power("hci0", False)
    u.check_resumed()


def test_the_adapter_is_pulled_in_the_middle(field):
    u = Update(field, field.slow)
    u.wait_moving()
    field.pull_adapters()
    u.check_resumed()


def test_a_node_is_out_of_range_in_the_middle(field):
    u = Update(field, field.slow)
    u.wait_moving()
    field.slow.tell("away 4")
    u.check_resumed()


def test_an_image_that_does_not_come_up_is_reported_reverted(field):
    old = field.crash.flash("slot-0")
    u = Update(field, field.crash, 8192)
    field.wait_job(field.crash, "reverted", 60, "went back to its old image")
    assert field.crash.flash("slot-0") == old and u.count.confirms == 0


def test_three_nodes_on_two_links_in_turns(field):
    """Who has a link gives it up after its turn; nobody starts over."""
    field.configure({"ble": {"turn_s": 5}})
    slow, others = Update(field, field.slow, 2 * IMAGE_BYTES), [Update(field, field.meter), Update(field, field.crash, 8192)]
    field.wait_job(field.crash, "reverted", 120)
    for u in (slow, others[0]):
        u.check_done(120)
        assert u.count.uploads == 1 and u.count.bytes == len(u.image)
    field.configure({"ble": {"turn_s": 300}})


# ---- as resources

BATTERY, FIRMWARE, SMP = "00002a19-0000-1000-8000-00805f9b34fb", "00002a26-0000-1000-8000-00805f9b34fb", "8d53dc1d-1db7-4cd3-868b-8a527460aa84"


class Http:
    """The tree of one node, as an administrator sees it by curl over the gateway's own socket."""

    def __init__(self, f, node):
        self.f, self.node = f, node
        self.base = f"/hc/ble:/nodes/{node.id}"
        self.services = {s["uuid_text"]: s["href"] for s in self.json(self.base + "/services")}
        self.values = {c["uuid_text"]: c["href"] for href in self.services.values() for c in self.json(href + "/characteristics")}

    def curl(self, *args, path):
        return ["curl", "-sS", "--max-time", "60", "--unix-socket", self.f.gateway.sock, *args, "http://gateway" + path]

    def json(self, path):
        return json.loads(lib.run(*self.curl("-f", path=path)).stdout)

    def get(self, uuid, accept="application/octet-stream"):
        return lib.run(*self.curl("-w", " %{http_code}", "-H", "Accept: " + accept, path=self.values[uuid])).stdout

    def put(self, uuid, value):
        return lib.run(*self.curl("-w", "%{http_code}", "-o", "/dev/null", "-X", "PUT", "-H", "Content-Type: application/octet-stream", "-d", value,
                                  path=self.values[uuid])).stdout

    def coap(self, uuid):
        return f"coap://127.0.0.1/ble/nodes/{self.node.id}/" + self.values[uuid].rsplit("/", 1)[1]


def coap(*args):
    """(out, error)"""
    p = lib.run("coap-client-notls", "-B", "60", *args)
    return p.stdout.strip(), p.stderr.strip()


def test_nodes_in_range_are_listed(field):
    """The gateway's own adapter alone; each node by its address, over CoAP, HTTP and the command line."""
    def heard():
        return {n["address"]: n for n in json.loads(coap("-A", "50", "coap://127.0.0.1/ble/nodes")[0])}
    nodes = lib.wait_for(lambda: (lambda h: h if {n.address for n in field.nodes} <= set(h) else None)(heard()), "all are heard", 30, [field.gateway])
    assert {n["adapter"] for n in nodes.values()} == {"hci0"} and nodes[field.meter.address]["name"] == "meter"
    assert set(nodes) == {a["address"] for a in field.gateway.get("/hc/ble:/nodes")}
    assert all(n.id in field.ctl("ble", "nodes") for n in field.nodes) and "hci0" in field.ctl("ble", "adapters")


def test_values_are_read_and_written(field):
    h = Http(field, field.meter)
    version = field.meter.status()["version"]
    assert h.get(FIRMWARE) == f"{version} 200" and h.get(BATTERY, "text/plain") == "100 200"
    assert coap("-A", "0", h.coap(BATTERY))[0] == "100"
    assert h.put(OWN % 1, "hello") == "204"
    field.wait_status(field.meter, lambda s: s["note"] == b"hello".hex(), "the node has it")
    assert h.get(OWN % 1) == "hello 200"
    assert h.put(OWN % 1, "x" * 65) == "400"                     # the node says so
    assert h.put(FIRMWARE, "1.0") == "405"
    assert coap("-m", "put", "-e", "by a stranger", h.coap(OWN % 1))[1].startswith("4.01")
    assert field.meter.status()["note"] == b"hello".hex()
    # An update goes through the one door only.
    assert SMP not in h.services and OWN % 0 in h.services


def test_notifications_are_observed(field):
    """By CoAP and as events of HTTP, at the same time, from one subscription."""
    h = Http(field, field.meter)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    observer = subprocess.Popen(["coap-client-notls", "-s", "60", "-A", "0", h.coap(BATTERY)], **options)
    stream = subprocess.Popen(h.curl("-N", "-H", "Accept: text/event-stream", path=h.values[BATTERY]), **options)
    seen = {observer: "", stream: ""}
    try:
        def read(value):
            for p in seen:
                while select.select([p.stdout], [], [], 0)[0]:
                    seen[p] += os.read(p.stdout.fileno(), 4096).decode()
            return seen[observer].endswith(value) and f'"text":"{value}"' in seen[stream]
        for value in ("100", "57", "58", "12"):
            if value != "100":
                field.meter.tell("battery " + value)
            lib.wait_for(lambda: read(value), f"{value} is told", 10, [field.gateway, field.meter])
        assert seen[observer] == "100575812", seen
    finally:
        for p in seen:
            p.kill()
            p.communicate()
        field.meter.tell("battery 100")


def test_who_may_be_paired_with_is_said_in_the_configuration(field):
    """Just works, for the nodes that are named; then what is for paired ones can be read; a bond is forgotten when told."""
    node, other = field.crash, field.meter
    assert "pairing" in lib.ctl("-s", field.gateway.sock, "ble", "pair", node.id, ok=None).stderr
    field.configure({"ble": {"pairing": "just-works", "pairing_nodes": [node.address]}})

    def is_bonded():
        return field.gateway.get(f"ble/nodes/{node.id}")["is_bonded"]
    assert not is_bonded()
    assert lib.ctl("-s", field.gateway.sock, "ble", "pair", other.id, ok=None).returncode != 0
    field.ctl("ble", "pair", node.id)
    lib.wait_for(is_bonded, "it is bonded", 20, [field.gateway])
    assert Http(field, node).get(OWN % 2) == "secret 200"
    field.ctl("ble", "unpair", node.id)
    lib.wait_for(lambda: not is_bonded(), "the bond is forgotten", 20, [field.gateway])
    field.configure({"ble": {"pairing": "off", "pairing_nodes": []}})


# ---- Nordic

class Dfu:
    """One update of one Nordic node."""
    version = 1

    def __init__(self, f, node, make):
        Dfu.version += 1
        f.enrol(node, "nordic-dfu")
        self.f, self.node, self.count = f, node, Counts(node)
        self.firmware = lib.image_bytes(FIRMWARE_BYTES, Dfu.version)
        f.publish(node, make(self.firmware, Dfu.version))

    def check_done(self, seconds=120):
        self.f.wait_job(self.node, "confirmed", seconds)
        assert self.node.flash("application") == self.firmware
        assert self.count.updates == 1 and not self.node.status()["boot_loader"]


def test_a_nordic_node_restarts_at_the_next_address_and_is_cut_in_the_middle(field):
    """Signed; the boot loader is found at address + 1, lost, and found again: what it has is not sent again."""
    d = Dfu(field, field.tag, lambda firmware, version: nordic_package.secure(firmware, version, field.dir + "/tag.pem"))
    first, start = field.wait_status(field.tag, lambda s: s["off"] > 0, "it begins")["off"], time.monotonic()
    sent = field.wait_status(field.tag, lambda s: s["off"] > FIRMWARE_BYTES / 3, "a third is there")["off"] - first
    rate = sent / 1024 / (time.monotonic() - start)
    ble_field.figure(f"nordic-dfu: {rate:.1f} KiB/s by packets of up to 244 bytes, {rate / field.bare:.3f} of the bare stream")
    d.check_done()
    assert d.count.resumed >= 1 and field.tag.status()["max_packet"] <= 244
    objects = -(-FIRMWARE_BYTES // 4096)
    assert d.count.executes <= objects + 2 and d.count.creates <= objects + 3, field.tag.status()


def test_a_nordic_node_restarts_at_the_same_address_and_loses_packets(field):
    d = Dfu(field, field.bulb, lambda firmware, version: nordic_package.secure(firmware, version, field.dir + "/tag.pem"))
    field.wait_status(field.bulb, lambda s: s["packets"] > 0, "it begins")
    start = time.monotonic()
    field.wait_status(field.bulb, lambda s: s["updates"] > 0, "all is sent")
    seconds = time.monotonic() - start
    d.check_done()
    assert d.count.lost > 0
    rate = FIRMWARE_BYTES / 1024 / seconds
    ble_field.figure(f"nordic-dfu: {FIRMWARE_BYTES // 1024} KiB in {d.count.packets} packets of up to 244 bytes, {d.count.lost} of them lost: {rate:.1f} KiB/s, "
                     f"{rate / field.bare:.3f} of the bare stream")


def test_legacy_dfu_needs_a_permit(field):
    """No signature, a CRC of 16 bits: only when somebody said so, for this node and this time."""
    d = Dfu(field, field.old, nordic_package.legacy)
    job = field.wait_job(field.old, "failed")
    assert "permit" in job["reason"] and d.count.packets == 0 and d.count.restarts == 0
    field.configure({"permit": [{"kind": "legacy-dfu", "device": "old", "until": "2099-01-01T00:00:00Z", "reason": "the last of its kind"}]})
    field.gateway.post(f"jobs/{job['id']}/retry")
    d.check_done()
    assert field.old.status()["max_packet"] == 20
