"""Nodes that speak MCUmgr's SMP over UDP: a real daemon brings MCUboot images to dormouse-node --smp, over loss, through kills of
the daemon, to nodes that revert, damage what they get, have a single slot or speak the old version. SMP-1, SMP-3 to SMP-9, SMP-11,
SMP-12, SMP-14, SMP-16."""
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess

import pytest

import lib

DEVICE = "meter-1"


def mcuboot(version, n=20000, protected=False, bad_hash=False, hash_tlv=True):
    """An image as imgtool makes it, without a signature: header, body, TLVs with its SHA-256."""
    major, minor, revision = version
    area = b""
    if protected:
        area = struct.pack("<HHHHI", 0x6908, 4 + 8, 0x50, 4, 7)  # a security counter
    body = struct.pack("<IIHHIIBBHII", 0x96f3b83d, 0, 32, len(area), n, 0, major, minor, revision, 0, 0) + lib.image_bytes(n, minor + 100) + area
    tlv = struct.pack("<HH", 0x10, 32) + hashlib.sha256(body + (b"x" if bad_hash else b"")).digest() if hash_tlv else struct.pack("<HH", 1, 0)
    return body + struct.pack("<HH", 0x6907, 4 + len(tlv)) + tlv


class SmpNode:
    """dormouse-node --smp in its own directory, running version 1.0.0."""

    def __init__(self, folder, kind="", listen="0", **options):
        self.dir = os.path.join(folder, "smp")
        self.state, self.status_file, self.log_file = (os.path.join(self.dir, n) for n in ("state", "status.json", "log"))
        os.makedirs(self.state)
        self.old = mcuboot((1, 0, 0), 5000)
        with open(os.path.join(self.state, "slot-0"), "wb") as f:
            f.write(self.old)
        if "must-erase" in kind:
            with open(os.path.join(self.state, "slot-1"), "wb") as f:
                f.write(mcuboot((0, 9, 0), 3000))
        args = [lib.binary("dormouse-node"), "--smp", listen, "--state", self.state, "--status-json", self.status_file, "--verbose"]
        args += ["--smp-is", kind] if kind else []
        for k, v in options.items():
            args += ["--" + k, str(v)]
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.address = lib.wait_for(self.status, "the SMP node is there", 20, [self])["address"]

    def status(self):
        with open(self.status_file) as f:
            return json.load(f)

    def check_alive(self):
        assert self.proc.poll() is None, open(self.log_file).read()[-2000:]

    def runs(self):
        with open(os.path.join(self.state, "slot-0"), "rb") as f:
            return f.read()

    def stop(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            assert self.proc.wait(20 * lib.SLOW) == 0
        with open(self.log_file, errors="replace") as f:
            text = f.read()
        assert not lib.SANITIZER.search(text), text

    def kill9(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


SMP = {"answer_ms": 300, "proof_s": 1, "restart_s": 20, "message_bytes": 512}


@pytest.fixture
def smp(world):
    """A site with one SMP device: smp(kind, config...) gives (site, node)."""
    def make(kind="", listen="0", config=None, address=None, **options):
        site = world.site(config={"smp": {**SMP, **(config or {})}, "rollout": {"retry_max": 0}})
        node = world.add(SmpNode(world.dir, kind, listen, **options))
        enrol(site.daemon, node.address if address is None else address)
        return site, node
    return make


def enrol(daemon, address):
    args = ["--address", address] if address else []
    lib.ctl("-s", daemon.sock, "devices", "add", DEVICE, "--vendor", lib.VENDOR, "--class", lib.MODEL, "--driver", "smp-udp", *args)


def job(daemon):
    jobs = daemon.items(f"jobs?device={DEVICE}")
    return jobs[-1] if jobs else None


def wait_job(site, node, state, seconds=60, reason=None):
    def found():
        j = job(site.daemon)
        return j if j and j["state"] == state and (reason is None or re.search(reason, j["reason"])) else None
    try:
        return lib.wait_for(found, f"the job is {state}", seconds, [site.daemon, node])
    except lib.Timeout as e:
        raise lib.Timeout(f"{e}; it is {job(site.daemon)}, the node {node.status()}") from None


def is_updated(site, node, image, version):
    j = wait_job(site, node, "confirmed")
    assert j["result"] == 1
    assert node.runs() == image
    s = lib.wait_for(lambda: (lambda s: s if s["confirmed"] else None)(node.status()), "the node tells", 10)
    assert s["version"] == version and s["reverts"] == 0
    device = site.daemon.get(f"devices/{DEVICE}")
    assert device["components"][0]["sequence"] == 2
    return s


def test_a_node_is_taken_through_a_whole_update(smp):
    site, node = smp()
    image = mcuboot((1, 2, 0), protected=True)
    site.vendor.publish(2, image=image)
    s = is_updated(site, node, image, "1.2.0")
    assert s["uploads"] == s["tests"] == s["swaps"] == s["confirms"] == 1 and s["bytes"] == len(image) and s["misplaced"] == 0
    site.daemon.audit()
    log = site.daemon.log_text()
    for step in ("queued -> offered", "offered -> transferring", "transferring -> transferred", "transferred -> applying", "applying -> confirmed"):
        assert step in log, log[-3000:]


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_over_ipv6(smp):
    site, node = smp(listen="[::1]:0")
    assert node.address.startswith("[::1]:")
    image = mcuboot((1, 2, 0))
    site.vendor.publish(2, image=image)
    is_updated(site, node, image, "1.2.0")


def test_loss_only_costs_time(smp):
    site, node = smp(config={"answer_ms": 100}, loss=0.1, seed=5)
    image = mcuboot((1, 2, 0))
    site.vendor.publish(2, image=image)
    assert is_updated(site, node, image, "1.2.0")["requests"] > 50


def test_an_old_node_that_wants_erasing_first_and_tells_no_parameters(smp):
    site, node = smp("v1,must-erase,no-params")
    image = mcuboot((1, 2, 0))
    site.vendor.publish(2, image=image)
    assert is_updated(site, node, image, "1.2.0")["erases"] == 1


def test_a_killed_daemon_resumes_the_upload_where_the_node_is(smp):
    site, node = smp(config={"message_bytes": 128, "window": 1})
    image = mcuboot((1, 2, 0), 900000)
    site.vendor.publish(2, image=image)
    lib.wait_for(lambda: node.status()["bytes"] > 100000, "the upload is under way", 60, [node])
    site.daemon.kill9()
    had = node.status()
    assert had["bytes"] < len(image) and had["tests"] == 0
    site.daemon.start()
    s = is_updated(site, node, image, "1.2.0")
    assert s["uploads"] == 1 and s["resumed"] == 1
    assert s["bytes"] == len(image)  # not a byte was written twice


@pytest.mark.parametrize("state", ["transferred", "applying"])
def test_a_daemon_killed_around_the_restart_does_nothing_twice(smp, state):
    site, node = smp(config={"proof_s": 2})
    image = mcuboot((1, 2, 0))
    site.vendor.publish(2, image=image)
    lib.wait_for(lambda: f"-> {state}" in site.daemon.log_text(), f"the job is {state}", 60, [node])
    site.daemon.kill9()
    site.daemon.start()
    s = is_updated(site, node, image, "1.2.0")
    assert s["uploads"] == 1 and s["swaps"] == 1 and s["tests"] == 1


def test_a_node_that_goes_back_is_reported_reverted(smp):
    site, node = smp("crashes")
    site.vendor.publish(2, image=mcuboot((1, 2, 0)))
    j = wait_job(site, node, "reverted", reason=r"went back to its old image, version 1\.0\.0")
    assert j["result"] == 8
    assert node.runs() == node.old and node.status()["confirms"] == 0
    assert not site.daemon.get(f"devices/{DEVICE}")["components"]


def test_what_is_damaged_in_the_node_never_runs(smp):
    site, node = smp("damages")
    site.vendor.publish(2, image=mcuboot((1, 2, 0)))
    wait_job(site, node, "failed", reason=r"\(5\): the node.s bootloader refused the image")
    assert node.runs() == node.old


@pytest.mark.parametrize("image,reason", [
    (lib.image_bytes(5000, 9), r"unsupported package type \(6\): not an MCUboot image"),
    (mcuboot((1, 2, 0), bad_hash=True), r"whose hash is not that of its bytes"),
    (mcuboot((1, 2, 0), hash_tlv=False), r"without a hash"),
    (mcuboot((1, 2, 0))[:-10], r"bad TLV area"),
], ids=["foreign", "wrong-hash", "no-hash", "cut"])
def test_what_is_no_good_image_is_refused_before_the_radio_is_used(smp, image, reason):
    site, node = smp()
    site.vendor.publish(2, image=image)
    j = wait_job(site, node, "failed", reason=reason)
    assert j["result"] == 6
    assert node.status()["requests"] == 0


def test_a_single_slot_is_only_updated_when_that_is_allowed(smp):
    site, node = smp("single-slot")
    image = mcuboot((1, 2, 0))
    site.vendor.publish(2, image=image)
    wait_job(site, node, "failed", reason=r"unsupported protocol \(9\): the node has a single slot")
    site.daemon.configure({"smp": {"single_slot": True}})
    site.daemon.post("reload")
    site.daemon.post(f"jobs/{job(site.daemon)['id']}/retry")
    j = wait_job(site, node, "confirmed")
    assert j["result"] == 1 and node.status()["version"] == "1.2.0" and node.status()["tests"] == 0


def test_a_node_that_refuses_to_confirm_is_not_called_updated(smp):
    site, node = smp("refuses-confirm")
    site.vendor.publish(2, image=mcuboot((1, 2, 0)))
    wait_job(site, node, "failed", reason="confirmation refused: confirming denied")


def test_an_image_for_a_smaller_slot_is_a_matter_of_flash(smp):
    site, node = smp()
    site.vendor.publish(2, image=mcuboot((1, 2, 0), 1 << 20))
    j = wait_job(site, node, "failed", reason="image too large for the slot")
    assert j["result"] == 2


def test_without_an_address_or_an_answer_the_job_fails_with_a_reason(smp):
    site, node = smp(address="")
    site.vendor.publish(2, image=mcuboot((1, 2, 0)))
    wait_job(site, node, "failed", reason="the device has no address here")
    assert lib.ctl("-s", site.daemon.sock, "devices", "add", DEVICE, "--address", "nowhere.example", ok=None).returncode != 0
    enrol(site.daemon, node.address)
    assert site.daemon.get(f"devices/{DEVICE}")["address"] == node.address
    site.daemon.post(f"jobs/{job(site.daemon)['id']}/retry")
    wait_job(site, node, "confirmed")


def test_a_cancelled_job_sends_no_more(smp):
    site, node = smp(config={"message_bytes": 128, "window": 1})
    site.vendor.publish(2, image=mcuboot((1, 2, 0), 900000))
    lib.wait_for(lambda: node.status()["bytes"] > 50000, "the upload is under way", 60, [node])
    site.daemon.post(f"jobs/{job(site.daemon)['id']}/cancel")
    wait_job(site, node, "cancelled")
    assert node.status()["tests"] == 0 and node.runs() == node.old
