"""IPv6 over Bluetooth LE by the kernel's module (RFC 7668), experimental (SLP-4): the gateway connects the node, gives the interface its
address, offers the prefix, and the node gets its update. Emulated controllers, no bluetoothd; both ends live in one kernel, the node's in
a VRF of its own, because the module forgets an interface that moves to another namespace."""
import glob
import os
import subprocess
import time

import pytest

import conftest
import field as fields
import lib

ENABLE = "/sys/kernel/debug/bluetooth/6lowpan_enable"
IMAGE_BYTES = 8192


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def network_of(hci):
    """The name of a controller's network interface; None = it has none."""
    for d in glob.glob("/sys/class/net/*"):
        if os.path.basename(os.path.realpath(d + "/device")) == hci:
            return os.path.basename(d)
    return None


class Node(fields.Radio):
    def __init__(self):
        super().__init__(1)
        self.prefix = ["ip", "vrf", "exec", "node1"]


class BleField(fields.Field):
    def make_radios(self, up, count):
        fields.command("modprobe", "-a", "hci_vhci", "algif_hash", "algif_skcipher", "cmac", "ecb", "aes_generic", "ecdh_generic", "bluetooth_6lowpan", "vrf")
        if not os.path.ismount("/sys/kernel/debug"):
            fields.command("mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug")
        self.btvirt = subprocess.Popen(["btvirt", "-L", "-l2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for hci in ("hci0", "hci1"):                          # the kernel connects from the newest: that is the gateway's
            lib.wait_for(lambda: subprocess.run(["hciconfig", hci, "up"], capture_output=True).returncode == 0, f"{hci} is up", 20)
        write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")
        fields.command("ip", "link", "add", "node1", "type", "vrf", "table", "1001")
        fields.command("ip", "link", "set", "node1", "up")
        return [fields.Radio(0), Node()]

    def stop(self):
        super().stop()
        self.btvirt.kill()
        self.btvirt.wait()


def address_of(hci):
    out = fields.command("hciconfig", hci)
    return out.split("BD Address: ")[1].split()[0]


@pytest.fixture(scope="module")
def field(tmp_path_factory, request):
    f = BleField(str(tmp_path_factory.mktemp("f")), 1)
    try:
        yield f
        if request.session.testsfailed:
            print("radios:", f.gateway.items("radios"), fields.command("ip", "-6", "addr"), fields.command("dmesg")[-1500:])
            f.logs()
    finally:
        f.stop()


def radio(field):
    return field.gateway.get("radios/ble0")


def test_the_gateway_connects_the_node_and_offers_it_a_prefix(field):
    """The node's end is another machine's elsewhere; here one kernel has both, and its listener closes when it connects itself."""
    field.gateway.configure({"lowpan": [{"interface": "ble0", "kind": "ble", "create": True, "peers": [address_of("hci0")],
                                         "address": "fd00:b1e::1/64", "advertise": True}]})
    field.gateway.post("reload")
    lib.wait_for(lambda: open(ENABLE).read().strip() in ("1", "Y"), "the gateway switches it on", 20, [field.gateway])

    def linked():
        if network_of("hci0") and network_of("hci1"):
            return True
        write(ENABLE, "1")                                    # the node listens again
        time.sleep(0.5)
        subprocess.run(["hciconfig", "hci0", "leadv", "0"], capture_output=True)
        time.sleep(1)                                         # an advertisement or two
        return False
    lib.wait_for(linked, "they are linked", 40, [field.gateway])
    node, ours = network_of("hci0"), network_of("hci1")
    for name, new in ((ours, "ble0"), (node, "bn1")):         # as a rule of udev would
        fields.command("ip", "link", "set", name, "down")
        fields.command("ip", "link", "set", name, "name", new)
    fields.command("ip", "link", "set", "bn1", "master", "node1")
    fields.command("ip", "link", "set", "bn1", "up")
    fields.command("ip", "link", "set", "ble0", "up")
    lib.wait_for(lambda: radio(field)["state"] == "ready" and radio(field)["address"] == "fd00:b1e::1/64", "the gateway has its address", 30,
                 [field.gateway])
    assert (radio(field)["kind"], radio(field)["block_bytes"], radio(field)["mtu"]) == ("ble", 256, 1280)
    lib.wait_for(lambda: "fd00:b1e:" in fields.command("ip", "-6", "addr", "show", "dev", "bn1"), "the node forms an address", 30, [field.gateway])


def test_the_node_gets_its_update(field):
    fields.GATEWAY = "fd00:b1e::1"
    field.populate(ack_timeout=2000)
    image, before, start = lib.image_bytes(IMAGE_BYTES, 2), radio(field), time.monotonic()
    field.publish(2, image)
    field.wait_all_run(2, 60)
    field.check_installed(image)
    lib.wait_for(lambda: radio(field)["airtime_ms"] > before["airtime_ms"], "airtime is counted", 15, [field.gateway])
    conftest.figures(f"IPv6 over BLE (experimental): {IMAGE_BYTES} bytes in blocks of 256 to one node in {time.monotonic() - start:.0f} s, "
                     f"{radio(field)['tx_packets'] - before['tx_packets']} packets down, {radio(field)['airtime_ms'] - before['airtime_ms']} ms of airtime reckoned")
