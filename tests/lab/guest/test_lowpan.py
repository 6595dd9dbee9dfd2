"""Unicast over 6LoWPAN: ten nodes, each in a network namespace with a radio of its own, take one signed update over DTLS."""
import json
import os
import time

import pytest

import conftest
import field as fields
import lib

NODES, LOSS, IMAGE_BYTES, SZX = 10, 3, 16384, 4
# Larger blocks than are usual on this link, as the nodes ask for them.
CONFIG = {"lowpan": [{"interface": "lowpan0", "block_bytes": 16 << SZX}]}


@pytest.fixture(scope="module")
def field(tmp_path_factory, request):
    f = fields.Field(str(tmp_path_factory.mktemp("f")), NODES, up=["-l", LOSS], config=CONFIG)
    try:
        f.populate(szx=SZX, ack_timeout=600)
        yield f
        if request.session.testsfailed:
            f.logs()
    finally:
        f.stop()


def test_ten_nodes_are_updated_while_frames_are_lost(field):
    """Three frames of a hundred are lost at each sender, and the gateway's interface goes down and comes up in the middle: no
    job is lost, each node ends with the very image."""
    image = lib.image_bytes(IMAGE_BYTES, 2)
    before, start = field.frames(), time.monotonic()
    field.publish(2, image)

    def moving():
        jobs = field.gateway.items("jobs")
        return len(jobs) == NODES and sum(j["sent_bytes"] for j in jobs) > NODES * IMAGE_BYTES / 4
    lib.wait_for(moving, "a quarter is transferred", 60, [field.gateway])
    jobs = {j["id"] for j in field.gateway.items("jobs")}
    field.radios[0].down()
    sent = field.frames()[0]
    time.sleep(6)                                             # that it stays down so long is the test
    assert field.frames()[0] == sent
    assert not all(n.sequence() == 2 for n in field.nodes)
    field.radios[0].up()
    back = time.monotonic()
    field.wait_all_run(2, 60)
    after, end = field.frames(), time.monotonic()
    field.check_installed(image)
    lib.wait_for(lambda: {j["state"] for j in field.gateway.items("jobs")} == {"confirmed"}, "all jobs are confirmed", 30, [field.gateway])
    assert {j["id"] for j in field.gateway.items("jobs")} == jobs
    down, up = after[0] - before[0], after[1] - before[1]
    conftest.figures(f"unicast: {IMAGE_BYTES} bytes to {NODES} nodes by blocks of {16 << SZX}, {LOSS} % of frames lost, the gateway's interface "
                     f"down for 6 s: {down} frames down, {up} up, {(down + up) / NODES:.0f} a node; {end - start:.0f} s, {end - back:.0f} after it was up")
    with open(os.path.join(os.environ["LAB_OUT"], "unicast.json"), "w") as f:
        json.dump({"bytes": IMAGE_BYTES, "nodes": NODES, "frames": down + up}, f)


def test_a_node_whose_interface_goes_away_finds_back(field):
    """The others are not held up, and it gets its update when it is back."""
    image = lib.image_bytes(2048, 3)
    lost, others = field.nodes[4], field.nodes[:4] + field.nodes[5:]
    lost.radio.down()
    field.publish(3, image)
    lib.wait_for(lambda: all(n.sequence() == 3 for n in others), "the others run it", 60, [field.gateway])
    assert lost.sequence() == 2
    lost.radio.up()
    field.wait_all_run(3, 60)
    field.check_installed(image)
