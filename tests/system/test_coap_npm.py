"""npm's coap, a client in another language by other people, against the directory and the delivery."""
import json

import coapc
import lib


def test_npm_coap_uses_the_directory(daemon):
    """Discovery, a blockwise registration, lookups, observation, update and removal."""
    out = json.loads(coapc.node("directory.mjs", "127.0.0.1", daemon.coap_port).stdout)
    assert len(coapc.links(out["discovered"])) == 3
    assert (out["registered"], out["updated"], out["removed"], out["gone"]) == ("2.01", "2.04", "2.02", "4.04")
    assert [t for t, _ in coapc.links(out["resources"])] == [f"coap://10.3.3.3/robot/arm/{i}" for i in range(50)]
    assert any('ep="npm1"' in x for x in out["observed"])
    assert [a["ep"] for _, a in coapc.links(out["observed"][-1])] == ["npm0"]


def test_npm_coap_fetches_an_image(site):
    image = lib.image_bytes(30000, 8)
    envelope = site.vendor.publish(4, image=image)
    site.daemon.wait_update(state="available", sequence=4)
    file = f"{site.world.dir}/npm-image"
    out = json.loads(coapc.node("image.mjs", "127.0.0.1", site.daemon.coap_port, "npm2", lib.vendor_uuid(), lib.class_uuid(),
                                lib.sha256(image), file).stdout)
    assert (out["registered"], out["offered"], out["envelope_bytes"]) == ("2.01", "2.05", len(envelope))
    for szx in (2, 6):
        assert out[f"image_{szx}"] == "2.05"
        with open(f"{file}.{szx}", "rb") as f:
            assert lib.sha256(f.read()) == lib.sha256(image)
    assert site.daemon.items("jobs?device=npm2")[0]["state"] == "transferring"
