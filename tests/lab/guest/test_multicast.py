"""Multicast over 6LoWPAN (dormouse-multicast(7)): one transmission of an update for ten nodes, each of which loses packets of its
own. What went over the air is what the kernel's interfaces and packet filter counted."""
import json
import os
import time

import pytest

import conftest
import field as fields
import lib

NODES, LOSS, IMAGE_BYTES, FRAGMENT_BYTES, PORT, GROUP = 10, 10, 16384, 64, 61616, "ff03::4d43"
FRAGMENTS = IMAGE_BYTES // FRAGMENT_BYTES
CONFIG = {
    "multicast": {"enabled": True, "gather_s": 30, "pull_timeout_s": 60, "lazy_s": 60},
    "multicast_group": [{"name": "field", "interface": "lowpan0", "address": GROUP, "port": PORT, "fragment_bytes": FRAGMENT_BYTES, "pace_ms": 25}],
}
COUNTER = f"""table ip6 count {{
	chain out {{
		type filter hook output priority 0;
		oifname lowpan0 ip6 daddr {GROUP} counter
	}}
}}
"""


def datagrams():
    """Sent to the group, as the kernel's packet filter counts them."""
    rules = json.loads(fields.command("nft", "-j", "list", "table", "ip6", "count"))["nftables"]
    return sum(e["counter"]["packets"] for r in rules if "rule" in r for e in r["rule"]["expr"] if "counter" in e)


@pytest.fixture(scope="module")
def field(tmp_path_factory, request):
    f = fields.Field(str(tmp_path_factory.mktemp("f")), NODES, up=["-r", LOSS], config=CONFIG)
    try:
        lib.run("nft", "-f", "-", input=COUNTER)
        f.populate(szx=4, ack_timeout=1000, multicast="lowpan0")
        yield f
        if request.session.testsfailed:
            print("sessions:", f.gateway.items("multicast/sessions"), "groups:", f.gateway.items("multicast/groups"))
            f.logs()
    finally:
        f.stop()


def session_of(field, update):
    found = [s for s in field.gateway.items("multicast/sessions") if s["update"] == update]
    return found[-1] if found else None


def wait_session(field, sequence, test, what):
    update = field.gateway.wait_update(f"update {sequence}", state="available", sequence=sequence)["id"]
    return lib.wait_for(lambda: (lambda s: s if s and test(s) else None)(session_of(field, update)), what, 60, [field.gateway])


def has_sent(part):
    return lambda s: s.get("frames", 0) > FRAGMENTS * part


def check_one_frame_each(field):
    """While nothing but data is sent, the radio sends a frame for a datagram, give or take some acknowledgements."""
    wait_session(field, 2, has_sent(1 / 8), "an eighth of it is sent")
    first, frames = datagrams(), field.radios[0].frames()
    wait_session(field, 2, has_sent(5 / 8), "more is sent")
    frames, last = field.radios[0].frames() - frames, datagrams()
    assert FRAGMENTS / 3 < frames < 1.2 * (last - first) + 10, (frames, last - first)


def confirmed(field):
    return [j["state"] for j in field.gateway.items("jobs")].count("confirmed")


def test_one_transmission_updates_ten_nodes(field):
    """A tenth of the packets is lost at each receiver, at each another tenth."""
    image = lib.image_bytes(IMAGE_BYTES, 2)
    before, before_sent, start = field.frames(), datagrams(), time.monotonic()
    field.publish(2, image)
    check_one_frame_each(field)
    field.wait_all_run(2, 60)
    lib.wait_for(lambda: confirmed(field) == NODES, "all jobs are confirmed", 30, [field.gateway])
    end = field.gateway.wait_log(r"session \w+: done: (\d+) of (\d+) devices ready, (\d+) left to unicast, (\d+) frames, .*", 60)
    after, sent, seconds = field.frames(), datagrams() - before_sent, time.monotonic() - start
    field.check_installed(image)
    frames = (after[0] - before[0], after[1] - before[1])
    lost = [r.dropped() for r in field.radios[1:]]
    bound = FRAGMENTS / (1 - LOSS / 100)
    conftest.figures(f"multicast: {IMAGE_BYTES} bytes in {FRAGMENTS} fragments to {NODES} nodes, {LOSS} % of packets lost at each receiver: {sent} multicast frames, "
                     f"{sent / bound:.2f} of the bound; with setup and reports {frames[0]} frames down, {frames[1]} up; {seconds:.0f} s")
    conftest.figures(f"multicast: receivers lost {min(lost)} to {max(lost)} packets each; the session's own words: {end[0].split('done: ')[1]}")
    compare(sum(frames))
    assert end.group(1, 2, 3) == (str(NODES), str(NODES), "0") and int(end[4]) == sent
    assert min(lost) > 10                                     # there was something to repair
    assert FRAGMENTS <= sent < 1.5 * bound


def test_the_interface_goes_away_in_the_middle(field):
    """The session waits and goes on, or its members are served one by one; nobody is left behind."""
    image = lib.image_bytes(IMAGE_BYTES, 3)
    field.publish(3, image)
    wait_session(field, 3, has_sent(1 / 2), "half of it is sent")
    field.radios[0].down()
    time.sleep(5)                                             # that it stays down so long is the test
    sent = datagrams()
    field.radios[0].up()
    field.wait_all_run(3, 60)
    field.check_installed(image)
    lib.wait_for(lambda: confirmed(field) == 2 * NODES, "all jobs are confirmed", 30, [field.gateway])
    last = field.gateway.log_text().rsplit("done: ", 1)[1].splitlines()[0]
    conftest.figures(f"multicast: the gateway's interface down for 5 s in the middle: {datagrams() - sent} multicast frames after it; {last}")


def compare(frames):
    """With the unicast of the group "lowpan", when that ran."""
    path = os.path.join(os.environ["LAB_OUT"], "unicast.json")
    if not os.path.exists(path):
        return
    with open(path) as f:
        unicast = json.load(f)
    ratio = unicast["frames"] / unicast["bytes"] * IMAGE_BYTES / frames
    conftest.figures(f"multicast: all frames, both ways: {frames}; by unicast it took {unicast['frames']}, {ratio:.1f} times as many")
    assert ratio > 2
