"""Nodes that have nothing but keys: DTLS with a key each, the gateway's COSE_Mac0 or the vendor's signature as proof; and those
who are not who they say."""
import os

import coapc
import lib

MAC = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


def keys(folder, names, mac=True):
    """(file for dormouse-node, {name: psk hex})"""
    psk = {n: f"{i:02x}" * 16 for i, n in enumerate(names, 1)}
    path = os.path.join(folder, "keys")
    with open(path, "w") as f:
        f.writelines(f"{n} {k}{' ' + MAC if mac else ''}\n" for n, k in psk.items())
    os.chmod(path, 0o600)
    return path, psk


def enrol(d, names, psk, proof, mac):
    for n in names:
        body = {"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid()), "identity": n, "proof": proof}
        assert d.api(f"devices/{n}", "PUT", body)[0] == 200
        assert d.api(f"credentials/{n}", "PUT", {"secret_hex": psk[n], "device": n})[0] == 200
        if mac:
            assert d.api(f"credentials/{n}", "PUT", {"secret_hex": MAC, "device": n, "kind": "mac"})[0] == 200


CLOSED = {"directory": {"open": False, "auto_enrol": False}}


def closed_site(make_site):
    s = make_site(config=CLOSED)
    return s


def test_nodes_with_a_shared_key_alone(make_site):
    """Mac0: no certificate, no signature check in the node; three nodes, one asleep most of the time."""
    s = closed_site(make_site)
    names = [f"mac-{i:03}" for i in range(3)]
    file, psk = keys(s.world.dir, names)
    enrol(s.daemon, names, psk, "mac", True)
    n = s.world.nodes(s.daemon, 3, ep="mac", gateway=s.daemon.coaps, psk_file=file, sleep=2, sleepers=1)
    image = lib.image_bytes(30000, 3)
    envelope = s.vendor.publish(3, image=image)
    n.wait_sequence(3)
    assert set(n.installed().values()) == {image}
    lib.wait_for(lambda: {j["state"] for j in s.daemon.items("jobs")} == {"confirmed"}, "all confirmed", 30, [s.daemon])
    # what the node got is the vendor's envelope with one block more
    assert len(envelope) > 0 and {d["proof"] for d in s.daemon.items("devices")} == {"mac"}
    assert {e["owner"] for e in s.daemon.items("endpoints")} == set(names)


def test_a_wrong_mac_key_is_noticed_by_the_node(make_site):
    s = closed_site(make_site)
    file, psk = keys(s.world.dir, ["mac-bad"])
    enrol(s.daemon, ["mac-bad"], psk, "mac", True)
    assert s.daemon.api("credentials/mac-bad", "PUT", {"secret_hex": "ff" * 32, "device": "mac-bad", "kind": "mac"})[0] == 200
    s.world.nodes(s.daemon, 1, ep="mac-bad", gateway=s.daemon.coaps, psk_file=file)
    s.vendor.publish(3)
    job = lib.wait_for(lambda: next((j for j in s.daemon.items("jobs") if j["result"] == 5), None), "the node refuses", 30, [s.daemon])
    assert job["state"] in ("failed", "queued", "offered", "deferred") and job["reason"]
    assert s.daemon.get("devices/mac-bad")["components"] == [] or s.daemon.get("devices/mac-bad")["components"][0]["sequence"] != 3


def test_nodes_that_check_signatures_over_dtls(make_site):
    s = closed_site(make_site)
    names = ["sig-000", "sig-001"]
    file, psk = keys(s.world.dir, names, mac=False)
    enrol(s.daemon, names, psk, "signature", False)
    n = s.world.nodes(s.daemon, 2, ep="sig", gateway=s.daemon.coaps, psk_file=file, anchor=s.pki.root_file, szx=2)
    s.vendor.publish(4)
    n.wait_sequence(4)


def test_a_device_with_mac_proof_and_no_key_waits(make_site):
    s = closed_site(make_site)
    file, psk = keys(s.world.dir, ["half"])
    enrol(s.daemon, ["half"], psk, "mac", False)
    s.world.nodes(s.daemon, 1, ep="half", gateway=s.daemon.coaps, psk_file=file, sleep=1)
    s.vendor.publish(5)
    u = s.daemon.wait_update(state="available", sequence=5)
    why = lib.ctl("-s", s.daemon.sock, "why-not", "half", u["id"]).stdout
    assert "proof" in why and "--mac-key-file" in why, why
    assert s.daemon.items("jobs") == []
    assert s.daemon.api("credentials/half", "PUT", {"secret_hex": MAC, "device": "half", "kind": "mac"})[0] == 200
    lib.wait_for(lambda: [j["state"] for j in s.daemon.items("jobs")] == ["confirmed"], "it has its key", 30, [s.daemon])


def test_identities_are_not_names(make_site):
    """An ep that is not the identity's is 4.03, an identity nobody knows gets no session, and so it stays over a restart."""
    s = closed_site(make_site)
    d = s.daemon
    names = ["a", "b"]
    key = {"a": "aaaaaaaaaaaaaaaa", "b": "bbbbbbbbbbbbbbbb"}
    enrol(d, names, {n: key[n].encode().hex() for n in names}, "signature", False)
    s.vendor.publish(6)
    u = d.wait_update(state="available", sequence=6)
    lib.wait_for(lambda: len(d.items("jobs?state=offered")) == 2, "offers", 20, [d])
    digest = u["images"][0]["digest"]
    for _ in range(2):
        for path in ("fw?ep=b", f"fw/i/{digest}?ep=b", "rd?ep=b"):
            a = coapc.request(f"{d.coaps}/{path}", "post" if path[0] == "r" else "get", psk=("a", key["a"]))
            assert a.code == "4.03", (path, a.code)
        assert coapc.request(f"{d.coaps}/fw", psk=("a", key["a"])).code == "2.05"
        assert coapc.request(f"{d.coaps}/fw/i/{digest}", psk=("a", key["a"])).code == "2.05"
        assert coapc.request(f"{d.coaps}/fw", psk=("c", key["a"]), seconds=3).code is None
        assert coapc.request(f"{d.coaps}/fw", psk=("b", key["a"]), seconds=3).code is None
        assert coapc.request(f"{d.coap}/fw?ep=a").code in ("4.01", "4.03")
        d.restart()


def test_a_quarantined_device_gets_nothing(make_site):
    s = closed_site(make_site)
    d, key = s.daemon, "qqqqqqqqqqqqqqqq"
    enrol(d, ["q"], {"q": key.encode().hex()}, "signature", False)
    s.vendor.publish(7)
    u = d.wait_update(state="available", sequence=7)
    digest = u["images"][0]["digest"]
    lib.wait_for(lambda: d.items("jobs?state=offered"), "the offer", 20, [d])
    ask = lambda path: coapc.request(f"{d.coaps}/{path}", psk=("q", key)).code
    assert ask("fw") == "2.05" and ask(f"fw/i/{digest}") == "2.05"
    assert d.api("devices/q/state", "POST", {"state": "quarantined"})[0] == 200
    assert ask("fw") == "4.03" and ask(f"fw/i/{digest}") == "4.03"
    assert d.api("devices/q/state", "POST", {"state": "enrolled"})[0] == 200
    lib.wait_for(lambda: ask("fw") == "2.05", "the offer again", 20, [d])
    assert d.api("devices/q/state", "POST", {"state": "retired"})[0] == 200
    a = coapc.request(f"{d.coaps}/fw", psk=("q", key), seconds=3)
    assert a.code is None                                            # a retired device has no key any more
    assert d.api("devices/q", "DELETE")[0] == 200
    assert d.items("jobs?state=open") == []
