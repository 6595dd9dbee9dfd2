"""The gateway sets its own 802.15.4 radio up: PAN id, channel, short address, interface, address, and a prefix that the nodes form their
addresses from. Blocks fit few frames, what is sent is time on air, and an interface that is deleted in the middle is made again."""
import json
import os
import socket
import time

import pytest

import conftest
import field as fields
import lib

NODES, LOSS, IMAGE_BYTES = 4, 2, 8192
LOWPAN = {"interface": "lowpan0", "create": True, "parent": "wpan0", "pan_id": 0xbeef, "short_address": 1, "channel": 26,
          "address": fields.GATEWAY + "/64", "advertise": True, "airtime_permille": 500}
# UDP with its header: a block of 64 bytes in DTLS with its options stays well below 200, a handshake with a ticket below 400. IPv6's
# smallest packet is 1280.
COUNTERS = """table ip6 sizes {
	counter large { }
	counter huge { }
	counter sum { }
	chain out {
		type filter hook output priority 0;
		oifname lowpan0 meta l4proto udp counter name sum
		oifname lowpan0 udp length > 400 counter name large
		oifname lowpan0 meta length > 1280 counter name huge
	}
}
"""


def counters():
    found = json.loads(fields.command("nft", "-j", "list", "counters"))["nftables"]
    return {c["counter"]["name"]: (c["counter"]["packets"], c["counter"]["bytes"]) for c in found if "counter" in c}


def radio(field):
    return field.gateway.get("radios/lowpan0")


@pytest.fixture(scope="module")
def field(tmp_path_factory, request):
    f = fields.Field(str(tmp_path_factory.mktemp("f")), NODES, up=["-g", "-l", LOSS], config={"lowpan": [LOWPAN]})
    try:
        yield f
        if request.session.testsfailed:
            print("radios:", f.gateway.items("radios"), fields.command("ip", "-6", "addr", "show", "dev", "lowpan0"))
            print("node1:", f.radios[1].run("ip", "-6", "addr", "show", "dev", "lowpan0"), f.radios[1].run("cat", "/proc/net/dev_snmp6/lowpan0"))
            print("sent:", fields.command("cat", "/proc/net/dev_snmp6/lowpan0"), fields.command("dmesg")[-1000:])
            f.logs()
    finally:
        f.stop()


def test_the_gateway_sets_its_radio_up(field):
    lib.wait_for(lambda: radio(field)["state"] == "ready", "lowpan0 is ready", 20, [field.gateway])
    r = radio(field)
    assert (r["kind"], r["is_up"], r["is_configured"], r["has_error"]) == ("802.15.4", True, True, False)
    assert (r["pan_id"], r["short_address"], r["page"], r["channel"]) == (0xbeef, 1, 0, 26)
    assert (r["parent"], r["mtu"], r["address"], r["block_bytes"]) == ("wpan0", 1280, fields.GATEWAY + "/64", 64)
    wpan = fields.command("iwpan", "dev", "wpan0", "info")
    assert "pan_id 0xbeef" in wpan and "short_addr 0x0001" in wpan
    shown = lib.ctl("-s", field.gateway.sock, "radios").stdout
    assert "lowpan0" in shown and "ready" in shown


def addresses(node):
    found = json.loads(node.run("ip", "-j", "-6", "addr", "show", "dev", "lowpan0", "scope", "global"))
    return [a["local"] for i in found for a in i.get("addr_info", []) if "local" in a and not a.get("tentative")]


def test_nodes_form_addresses_from_the_prefix_offered(field):
    nodes = field.radios[1:]
    lib.wait_for(lambda: all(addresses(n) for n in nodes), "all nodes have an address", 30, [field.gateway])
    field.populate(ack_timeout=600)                           # no size of blocks asked for: the largest that the node can take
    lib.wait_for(lambda: radio(field)["neighbours"] >= NODES, "they are neighbours", 20, [field.gateway])
    known = radio(field)["neighbour_list"]
    assert any(n["address"].startswith("fd00:15:4:") and n["link_address"] for n in known), known


def test_an_update_goes_in_blocks_that_fit_few_frames(field):
    """SLP-2"""
    lib.run("nft", "-f", "-", input=COUNTERS)
    image = lib.image_bytes(IMAGE_BYTES, 2)
    before, start = radio(field), time.monotonic()
    frames = field.frames()
    field.publish(2, image)
    field.wait_all_run(2, 90)
    field.check_installed(image)
    lib.wait_for(lambda: {j["state"] for j in field.gateway.items("jobs")} == {"confirmed"}, "all jobs are confirmed", 30, [field.gateway])
    seconds, n = time.monotonic() - start, counters()
    frames = field.frames()[0] - frames[0]
    lib.wait_for(lambda: radio(field)["tx_packets"] - before["tx_packets"] > NODES * IMAGE_BYTES / 64, "the counters are read", 15, [field.gateway])
    lib.wait_for(lambda: radio(field)["airtime_ms"] - before["airtime_ms"] > 0.9 * frames, "airtime is counted", 20, [field.gateway])
    air = radio(field)["airtime_ms"] - before["airtime_ms"]
    datagrams, octets = n["sum"]
    assert datagrams > NODES * IMAGE_BYTES / 64 and octets / datagrams < 200, n
    assert n["large"][0] == 0 and n["huge"][0] == 0, n
    conftest.figures(f"radio: {IMAGE_BYTES} bytes to {NODES} nodes in blocks of 64, {LOSS} % of frames lost: {datagrams} datagrams of {octets / datagrams:.0f} bytes on average in {frames} frames down, "
                     f"{air / 1000:.1f} s of airtime reckoned; {seconds:.0f} s")
    # A frame takes between 0.6 ms (an empty one) and 4.3 ms.
    assert 0.9 * frames < air < 4.4 * frames + 100


def test_an_interface_deleted_in_the_middle_is_made_again(field):
    """SLP-1: it comes back with another index; no job is lost."""
    image = lib.image_bytes(IMAGE_BYTES, 3)
    old = socket.if_nametoindex("lowpan0")
    field.publish(3, image)

    def moving():
        jobs = [j for j in field.gateway.items("jobs") if j["state"] != "confirmed"]
        return len(jobs) == NODES and sum(j["sent_bytes"] for j in jobs) > NODES * IMAGE_BYTES / 4
    lib.wait_for(moving, "a quarter is transferred", 60, [field.gateway])
    jobs = {j["id"] for j in field.gateway.items("jobs")}
    fields.command("ip", "link", "del", "lowpan0")
    lib.wait_for(lambda: socket.if_nametoindex("lowpan0") != old and radio(field)["state"] == "ready", "it is there again", 20, [field.gateway])
    field.wait_all_run(3, 90)
    field.check_installed(image)
    lib.wait_for(lambda: {j["state"] for j in field.gateway.items("jobs")} == {"confirmed"}, "all jobs are confirmed", 30, [field.gateway])
    assert {j["id"] for j in field.gateway.items("jobs")} == jobs


def test_what_another_takes_down_is_left_down(field):
    fields.command("ip", "link", "set", "lowpan0", "down")
    lib.wait_for(lambda: "taken down by another" in radio(field)["state"], "it says so", 20, [field.gateway])
    fields.command("ip", "link", "set", "lowpan0", "up")
    lib.wait_for(lambda: radio(field)["state"] == "ready" and radio(field)["address"] == fields.GATEWAY + "/64", "it has its address again", 20,
                 [field.gateway])


def test_a_key_that_cannot_be_set_is_refused_in_words(field):
    key = os.path.join(field.dir, "link.key")
    with open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("00" * 16)
    field.gateway.configure({"lowpan": [{**LOWPAN, "key_file": key}]})
    assert field.gateway.api("reload", "POST")[0] == 200
    lib.wait_for(lambda: "CONFIG_IEEE802154_NL802154_EXPERIMENTAL" in radio(field)["state"], "it says why", 20, [field.gateway])
    assert radio(field)["has_error"]
