"""People's side of Bluetooth LE: a real daemon on a private bus with a scripted bluetoothd, and dormousectl. BLZ-2, BLZ-11."""
import json
import subprocess

import pytest

import lib
from bluez import NORESP, NOTIFY, READ, Bluez, short

LAMP, LOCK, STRANGER = "C0:00:00:00:00:01", "C0:00:00:00:00:02", "C0:00:00:00:00:03"
SMP, SMP_CHARACTERISTIC = "8d53dc1d-1db7-4cd3-868b-8a527460aa84", "da2e7828-fbce-4e01-ae9e-261174997c48"


class Site:
    def __init__(self, world):
        self.bluez = b = world.add(Bluez())
        for address, name in ((LAMP, "lamp"), (LOCK, "lock"), (STRANGER, "stranger")):
            b.node(address, name)
        b.characteristic(LAMP, SMP, SMP_CHARACTERISTIC, NORESP | NOTIFY)
        b.characteristic(LAMP, short(0x180a), short(0x2a26), READ, b"1.0")
        b.say("pairing", LAMP, "shown", 4711)
        b.say("pairing", LOCK, "asked", 42)
        self.daemon = world.daemon({"ble": {"enabled": True, "pairing": "passkey", "pairing_nodes": [LAMP, LOCK]}}, env=b.env)
        lib.wait_for(lambda: len(self.nodes()) == 3, "three nodes", 30, [self.daemon])

    def ctl(self, *args, ok=0):
        """What it printed, errors too."""
        p = lib.ctl("-s", self.daemon.sock, *args, ok=ok)
        return p.stdout + p.stderr

    def nodes(self):
        return {n["address"]: n for n in json.loads(self.ctl("--json", "ble", "nodes"))["items"]}

    def show(self, node):
        return json.loads(self.ctl("--json", "ble", "show", node))


@pytest.fixture
def site(world):
    return Site(world)


def test_nodes_and_adapters_are_shown(site):
    adapters = json.loads(site.ctl("--json", "ble", "adapters"))["items"]
    assert [(a["name"], a["is_powered"], a["state"]) for a in adapters] == [("hci0", True, "ready")]
    assert "stranger" in site.ctl("ble") and "hci0" in site.ctl("ble", "adapters")
    site.ctl("devices", "add", "hall", "--vendor", "vendor.example", "--class", "lamp", "--address", LAMP)
    lib.wait_for(lambda: site.nodes()[LAMP]["device"] == "hall", "the device that the node is", 10)
    assert site.show("ble-c00000000001")["gatt"] == []


def test_a_node_is_paired_and_forgotten(site):
    out = site.ctl("ble", "pair", LAMP)
    assert out.splitlines() == ["type 004711 at the node", "paired"] or out.splitlines() == ["paired"], out
    node = site.show(LAMP)
    assert node["is_bonded"] and node["pairing"]["state"] == "done"
    assert {c["uuid"] for s in node["gatt"] for c in s["characteristics"]} == {SMP_CHARACTERISTIC, short(0x2a26)}
    assert "forgotten" in site.ctl("ble", "unpair", LAMP)
    lib.wait_for(lambda: not site.nodes().get(LAMP, {"is_bonded": False})["is_bonded"], "no bond", 10)
    entries = json.loads(site.ctl("--json", "audit", "list", "--subject", LAMP))["items"]
    actions = [e["entry"]["data"]["action"] for e in entries]
    assert sorted(actions) == ["pair", "unpair"]
    assert "4711" not in site.daemon.log_text() + site.ctl("events"), "digits are for who pairs"
    assert "pairing_nodes" in site.ctl("ble", "pair", STRANGER, ok=1)


def test_what_a_node_shows_is_told(site):
    pair = subprocess.Popen([lib.binary("dormousectl"), "-s", site.daemon.sock, "ble", "pair", LOCK], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    try:
        lib.wait_for(lambda: (site.show(LOCK)["pairing"] or {}).get("is_passkey_wanted"), "the question", 20)
        assert "six digits" in site.ctl("ble", "passkey", LOCK, "42", ok=1)
        site.ctl("ble", "passkey", LOCK, "000042")
        out, _ = pair.communicate(timeout=60)
        assert pair.returncode == 0 and out.splitlines()[-1] == "paired", out
    finally:
        pair.kill()
        pair.wait()
    assert site.show(LOCK)["is_bonded"]


def test_without_bluetoothd_it_says_so_and_comes_back(site):
    site.bluez.say("stop")
    lib.wait_for(lambda: "bluetoothd is not running" in site.ctl("ble", "pair", LAMP, ok=1), "the refusal", 10)
    assert json.loads(site.ctl("--json", "ble", "adapters"))["items"] == []
    assert "bluetoothd is not running" in site.ctl("health", ok=1)
    site.bluez.say("start")
    lib.wait_for(lambda: len(site.nodes()) == 3, "three nodes again", 60, [site.daemon])
    site.ctl("health")
