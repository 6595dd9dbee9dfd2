"""Devices with the driver nordic-dfu in a real daemon: what it says when Bluetooth is off or a node is no such node, and the permit that
Legacy DFU needs, with its traces in the log and in the audit log. The nodes are a scripted bluetoothd's. NDFU-1, NDFU-4. A
whole update over BlueZ is tests/lab's."""
import os
import sys

import pytest

import lib
from bluez import NORESP, NOTIFY, READ, WRITE, Bluez, short

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab", "guest"))
import nordic_package  # noqa: E402

DEVICE, ADDRESS = "tag-17", "C0:FF:EE:00:00:10"
BESIDE = "C0:FF:EE:00:00:11"
SECURE_CONTROL, SECURE_PACKET = (f"8ec9000{i}-f315-4f60-9fb8-838830daea50" for i in (1, 2))
LEGACY, CONTROL, PACKET, VERSION = (f"0000153{i}-1212-efde-1523-785feabcd123" for i in (0, 1, 2, 4))
PERMIT = {"kind": "legacy-dfu", "device": DEVICE, "until": "2099-01-31T18:00:00Z", "reason": "in a locked room"}


@pytest.fixture
def place(world):
    """place(config...) gives (site, bluez): a site with one such device."""
    def make(ble=True, **config):
        bluez = world.add(Bluez()) if ble else None
        tables = {"rollout": {"retry_max": 0}, "nordic_dfu": {"restart_s": 5}, **({"ble": {"enabled": True}} if ble else {}), **config}
        site = world.site(config=tables, start=False)
        site.daemon.env = bluez.env if ble else None
        site.daemon.start()
        lib.ctl("-s", site.daemon.sock, "devices", "add", DEVICE, "--vendor", lib.VENDOR, "--class", lib.MODEL, "--driver", "nordic-dfu",
                "--address", "ble:" + ADDRESS)
        return site, bluez
    return make


def job(site):
    jobs = site.daemon.items(f"jobs?device={DEVICE}")
    return jobs[-1] if jobs else None


def wait_failed(site, reason):
    j = lib.wait_for(lambda: (lambda j: j if j and j["state"] == "failed" else None)(job(site)), "the job fails", 60, [site.daemon])
    assert reason in j["reason"], j
    return j


def test_without_bluetooth_it_says_what_to_do(place):
    site, _ = place(ble=False)
    site.vendor.publish(2, image=nordic_package.legacy(lib.image_bytes(3000), 2))
    wait_failed(site, "enabled = true in [ble]")


def test_what_is_no_package_is_refused_before_radio_is_used(place):
    site, bluez = place()
    bluez.node(ADDRESS, "tag", LEGACY)
    site.vendor.publish(2, image=lib.image_bytes(3000))
    wait_failed(site, "not a package of Nordic's")
    assert bluez.calls("", "Connect") == 0


@pytest.fixture
def key(tmp_path):
    path = str(tmp_path / "key.pem")
    lib.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    return path


@pytest.mark.parametrize("state", ["seen", "enrolled"])
def test_a_bootloader_at_the_next_address_is_gone_on_with_unless_it_is_anothers(place, key, state):
    """Every node is a device that was seen; only one that somebody enrolled is another device (NDFU-4)."""
    site, bluez = place()
    bluez.node(BESIDE, "DfuTarg", short(0xFE59))
    control = bluez.characteristic(BESIDE, short(0xFE59), SECURE_CONTROL, WRITE | NOTIFY)
    bluez.characteristic(BESIDE, short(0xFE59), SECURE_PACKET, NORESP)
    beside = "ble-" + BESIDE.replace(":", "").lower()
    lib.wait_for(lambda: any(d["id"] == beside for d in site.daemon.items("devices")), "it is seen", 30, [site.daemon])
    if state == "enrolled":
        site.daemon.post(f"devices/{beside}/state", {"state": "enrolled"})
    site.vendor.publish(2, image=nordic_package.secure(lib.image_bytes(3000), 2, key))
    if state == "seen":
        lib.wait_for(lambda: bluez.written(control) == b"\x06\x01", "it is asked what it has", 60, [site.daemon])
    else:
        lib.wait_for(lambda: job(site), "the job waits", 30, [site.daemon])
        bluez.node(ADDRESS, "tag", short(0x180F))              # this one is it
        bluez.characteristic(ADDRESS, short(0x180F), short(0x2A19), READ, b"\x32")
        wait_failed(site, "offers no DFU service of Nordic's")
        assert not bluez.written(control)


def test_a_node_without_dfu_is_told(place, key):
    site, bluez = place()
    bluez.node(ADDRESS, "tag", short(0x180F))
    bluez.characteristic(ADDRESS, short(0x180F), short(0x2A19), READ, b"\x32")
    site.vendor.publish(2, image=nordic_package.secure(lib.image_bytes(3000), 2, key))
    wait_failed(site, "offers no DFU service of Nordic's")


def test_legacy_dfu_needs_a_permit_and_leaves_its_traces(place):
    site, bluez = place()
    bluez.node(ADDRESS, "DfuTarg", LEGACY)
    control = bluez.characteristic(ADDRESS, LEGACY, CONTROL, WRITE | NOTIFY)
    bluez.characteristic(ADDRESS, LEGACY, PACKET, NORESP)
    bluez.characteristic(ADDRESS, LEGACY, VERSION, READ, b"\x08\x00")
    site.vendor.publish(2, image=nordic_package.legacy(lib.image_bytes(3000), 2))
    j = wait_failed(site, "[[permit]]")
    assert bluez.calls("", "Connect") == 0 and not bluez.written(control)
    assert not [e for e in site.daemon.get(f"audit?subject={j['id']}")["items"] if e["entry"]["kind"] == "permit"]

    site.daemon.configure({"permit": [PERMIT]})
    site.daemon.post("reload")
    site.daemon.post(f"jobs/{j['id']}/retry")
    lib.wait_for(lambda: bluez.written(control), "the node is told to start", 60, [site.daemon])
    assert bluez.written(control) == b"\x01\x04"                # an application
    entry = lib.wait_for(lambda: [e["entry"] for e in site.daemon.get(f"audit?subject={j['id']}")["items"] if e["entry"]["kind"] == "permit"],
                         "the audit log has it", 20, [site.daemon])[0]
    assert entry["data"]["reason"] == PERMIT["reason"] and entry["data"]["device"] == DEVICE
    site.daemon.wait_log("updated by Legacy DFU, without a signature")
    site.daemon.audit()
