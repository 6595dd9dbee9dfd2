"""Debian's coap-client against the daemon: the directory (RFC 9176), blocks of every size (RFC 7959), observation
(RFC 7641), images by digest and by Proxy-Uri, reports, DTLS with pre-shared keys."""
import re

import cbor2
import pytest

import coapc
import lib

KEY = "0123456789abcdef"


def registered(gw, ep, links='</s/t>;rt="temperature";if="sensor";ct=0', **params):
    query = "&".join([f"ep={ep}"] + [f"{k}={v}" for k, v in params.items()])
    a = coapc.request(f"{gw.coap}/rd?{query}", "post", links, ct=40)
    assert a.code == "2.01", a.log
    return "/" + "/".join(a.last.all("Location-Path"))


def lookup(d, kind, query=""):
    a = coapc.request(f"{d.coap}/rd-lookup/{kind}" + (f"?{query}" if query else ""))
    assert a.code == "2.05", a.log
    return a.links


@pytest.mark.parametrize("query,found", [
    ("rt=core.rd*", {"core.rd", "core.rd-lookup-ep", "core.rd-lookup-res"}),
    ("rt=core.rd-lookup*", {"core.rd-lookup-ep", "core.rd-lookup-res"}),
    ("rt=core.rd", {"core.rd"}),
    ("rt=dormouse.fw", {"dormouse.fw"}),
    ("href=/fw*", {"dormouse.fw", "dormouse.fw.image", "dormouse.fw.report"}),
    ("href=/rd", {"core.rd"}),
    ("rt=nothing", set()),
])
def test_discovery_is_filtered(shared_daemon, query, found):
    """RD-1, RFC 6690 4.1."""
    a = coapc.request(f"{shared_daemon.coap}/.well-known/core?{query}")
    assert {attributes["rt"] for _, attributes in a.links} == found
    assert a.code == "2.05" and a.last.get("Content-Format") in ("application/link-format", None if not found else "40")


def test_a_registration_lives_and_dies(daemon):
    """RD-20, 21, 42 to 46, RD-28."""
    where = registered(daemon, "n1", et="lamp", lt=600, d="hall")
    assert registered(daemon, "n1", '</other>;rt="humidity"', et="lamp", lt=600, d="hall") == where
    assert [t for t, _ in lookup(daemon, "res")] == [lookup(daemon, "ep")[0][1]["base"] + "/other"]
    assert lookup(daemon, "ep")[0][1]["et"] == "lamp" and lookup(daemon, "ep")[0][1]["d"] == "hall"
    assert coapc.request(f"{daemon.coap}{where}?lt=700&base=coap://10.0.0.9", "post").code == "2.04"
    assert lookup(daemon, "res")[0][0] == "coap://10.0.0.9/other"
    assert coapc.request(f"{daemon.coap}{where}", "delete").code == "2.02"
    assert coapc.request(f"{daemon.coap}{where}", "delete").code == "4.04"
    assert coapc.request(f"{daemon.coap}{where}", "post").code == "4.04"
    assert lookup(daemon, "ep") == [] and lookup(daemon, "res") == []


@pytest.mark.parametrize("query,ct,links,code", [
    ("", 40, "</a>", "4.00"),                                   # RD-23
    ("ep=" + "x" * 64, 40, "</a>", "4.00"),                     # RD-22
    ("ep=a&lt=0", 40, "</a>", "4.00"),                          # RD-24
    ("ep=a&lt=4294967296", 40, "</a>", "4.00"),
    ("ep=a&base=foo", 40, "</a>", "4.00"),                      # RD-26
    ("ep=a&page=1", 40, "</a>", "4.00"),                        # RD-29
    ("ep=a", 40, "<a/b>", "4.00"),                              # RD-30
    ("ep=a", 40, "<//h/x>", "4.00"),
    ("ep=a", 40, "</a", "4.00"),                                # RD-31
    ("ep=a", 50, "</a>", "4.15"),
])
def test_wrong_registrations_are_told_what_is_wrong(shared_daemon, query, ct, links, code):
    a = coapc.request(f"{shared_daemon.coap}/rd?{query}", "post", links, ct=ct)
    assert a.code == code, a.log
    assert len(a.body) > 5 or "::" in a.log       # a diagnostic


def test_lookups_filter_and_page(daemon):
    """RD-53 to 61: every filter on endpoint and resource lookup, several at once, wildcards, paging."""
    for i in range(7):
        registered(daemon, f"e{i}", f'</s/{i}>;rt="t{i % 2} common";if="i{i % 3}"', et=f"k{i % 2}", d=f"d{i % 2}")
    eps = lambda q="": {a["ep"] for _, a in lookup(daemon, "ep", q)}
    everyone = {f"e{i}" for i in range(7)}
    assert eps() == everyone and eps("ep=e3") == {"e3"} and eps("ep=e*") == everyone
    assert eps("d=d1") == {"e1", "e3", "e5"} and eps("et=k0") == {"e0", "e2", "e4", "e6"}
    assert eps("rt=t1") == {"e1", "e3", "e5"} and eps("rt=common&if=i0") == {"e0", "e3", "e6"}
    bases = {a["ep"]: a["base"] for _, a in lookup(daemon, "ep")}
    assert eps(f"href={bases['e4']}/s/4") == {"e4"} and eps("href=/rd/*") == everyone                  # RD-57
    assert [t for t, _ in lookup(daemon, "res", f"href={bases['e4']}/*")] == [bases["e4"] + "/s/4"]
    assert eps("ep=none") == set() and eps("d=d1&et=k0") == set()
    res = lambda q: {re.sub(r".*/s/", "", t) for t, _ in lookup(daemon, "res", q)}
    assert res("rt=t0") == {"0", "2", "4", "6"} and res("ep=e5") == {"5"} and res("if=i1") == {"1", "4"}
    assert res("et=k1&rt=common") == {"1", "3", "5"} and res("rt=nothing") == set()
    pages = [lookup(daemon, "ep", f"count=3&page={p}") for p in range(4)]
    assert [len(p) for p in pages] == [3, 3, 1, 0]
    assert {a["ep"] for p in pages for _, a in p} == everyone
    assert len(lookup(daemon, "res", "count=2&page=3")) == 1
    for wrong in ("count=x", "page=1", "count=-1", "count=2&page=x"):
        assert coapc.request(f"{daemon.coap}/rd-lookup/ep?{wrong}").code == "4.00"


def test_lookups_accept_link_format_alone(shared_daemon):
    """RD-4."""
    assert coapc.request(f"{shared_daemon.coap}/rd-lookup/ep", accept=40).code == "2.05"
    assert coapc.request(f"{shared_daemon.coap}/rd-lookup/ep", accept=60).code == "4.06"
    assert coapc.request(f"{shared_daemon.coap}/rd-lookup/ep", "delete").code == "4.05"
    assert coapc.request(f"{shared_daemon.coap}/nowhere").code == "4.04"
    assert coapc.request(f"{shared_daemon.coap}/nowhere", "delete").code == "4.04"      # T5 of libcoap


def test_lookups_are_observed(world, daemon):
    """RD-67, OB: a new registration, a changed one and a removed one reach an observer of both lookups."""
    ep = world.add(coapc.Observer(world.dir, f"{daemon.coap}/rd-lookup/ep?et=lamp", name="ep"))
    res = world.add(coapc.Observer(world.dir, f"{daemon.coap}/rd-lookup/res?rt=light", name="res"))
    lib.wait_for(lambda: ep.notifications() and res.notifications(), "both observations begin", 10, [daemon])
    where = registered(daemon, "n1", '</l>;rt="light"', et="lamp", base="coap://10.1.1.1")
    ep.wait(r'ep="n1"')
    res.wait(r"<coap://10.1.1.1/l>")
    registered(daemon, "unrelated", '</h>;rt="heat"', et="oven")
    assert coapc.request(f"{daemon.coap}{where}?base=coap://10.2.2.2", "post").code == "2.04"
    res.wait(r"<coap://10.2.2.2/l>")
    assert coapc.request(f"{daemon.coap}{where}", "delete").code == "2.02"
    lib.wait_for(lambda: len(res.notifications()) >= 4, "the removal is told", 10, [daemon])
    assert "oven" not in ep.text()
    numbers = [int(p.get("Observe")) for p in res.notifications()]
    assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)      # OB-7


@pytest.mark.parametrize("block", [16, 32, 64, 128, 256, 512, 1024])
def test_bodies_of_every_block_size_both_ways(shared_daemon, block):
    """BW-1 to 7: links of 6 kB go up by Block1 and come back by Block2."""
    links = ",".join(f'</very/long/path/to/make/it/large/{i}>;rt="r{block}"' for i in range(60))
    d = shared_daemon
    a = coapc.request(f"{d.coap}/rd?ep=big{block}&base=coap://10.9.9.9", "post", links, ct=40, block=block)
    assert a.code == "2.01", a.log
    assert sum(p.code == "2.31" for p in a.received) == (len(links) - 1) // block
    a = coapc.request(f"{d.coap}/rd-lookup/res?ep=big{block}", block=block)
    assert [t for t, _ in a.links] == [f"coap://10.9.9.9/very/long/path/to/make/it/large/{i}" for i in range(60)]
    assert len({p.get("ETag") for p in a.received if p.code == "2.05"}) == 1


def test_a_body_over_the_limit_is_refused_at_once(shared_daemon):
    """RD-31: 4.13 with Size1, before the rest is sent."""
    a = coapc.request(f"{shared_daemon.coap}/rd?ep=huge", "post", ",".join(f"</{i}>" for i in range(20000)), ct=40, block=1024)
    assert a.code == "4.13" and a.last.get("Size1"), a.log
    assert len(a.received) < 40


def enrol_by_claim(d, ep):
    registered(d, ep, "</x>", vid=lib.vendor_uuid(), cid=lib.class_uuid(), seq=1, lt=600)


def offered(d, ep, sequence):
    return lib.wait_for(lambda: next((j for j in d.items(f"jobs?device={ep}&state=offered")), None), f"{ep} is offered {sequence}", 30, [d])


def by_proxy(d, vendor, image):
    """The plain SUIT way. Over plain CoAP a node is known by the address that it asked /fw from."""
    url = vendor.url("image-7.bin")
    a = coapc.request(d.coap, options=[(35, url)])
    assert a.code == "4.01", a.log[-2000:]
    mine = ["-p", str(lib.free_port())]
    assert coapc.request(f"{d.coap}/fw?ep=hand", extra=mine).code == "2.05"
    for block in (None, 64, 1024):
        a = coapc.request(d.coap, options=[(35, url)], extra=mine, block=block)
        assert a.code == "2.05" and a.body == image, a.log[-2000:]
    for other in (vendor.url("latest.suit"), "http://127.0.0.1/other", "coap://127.0.0.1/x", "ble://x/"):
        assert coapc.request(d.coap, options=[(35, other)], extra=mine).code in ("5.05", "4.04"), other


def test_an_update_by_hand(site):
    """A whole update with coap-client alone: ask, fetch by digest at every size and by Proxy-Uri, report."""
    d = site.daemon
    enrol_by_claim(d, "hand")
    a = coapc.request(f"{d.coap}/fw?ep=hand")
    assert a.code == "4.04", a.log
    image = lib.image_bytes(10000, 5)
    envelope = site.vendor.publish(7, image=image)
    u = d.wait_update(state="available", sequence=7)
    offered(d, "hand", 7)
    a = coapc.request(f"{d.coap}/fw?ep=hand")
    assert a.code == "2.05" and a.body == envelope and a.last.get("ETag") == "0x" + u["id"][:16], a.log
    assert coapc.request(f"{d.coap}/fw?ep=hand", options=[(4, "0x" + u["id"][:16])]).code == "2.03"
    digest = lib.sha256(image)
    for block in (16, 32, 64, 128, 256, 512, 1024):
        a = coapc.request(f"{d.coap}/fw/i/{digest}?ep=hand", block=block)
        assert a.body == image, (block, a.log[-500:])
        assert a.received[0].get("Size2") == str(len(image)) and a.last.get("ETag") == "0x" + digest[:16]
    a = coapc.request(f"{d.coap}/fw/i/{digest}?ep=hand", block="5,1024")            # one from the middle
    assert a.last.get("Block2").startswith("5/M/1024") and image[5 * 1024:6 * 1024] in a.body, a.log[-2000:]
    assert coapc.request(f"{d.coap}/fw/i/{digest[:-1]}0?ep=hand").code == "4.04"
    assert coapc.request(f"{d.coap}/fw/i/../../etc/passwd?ep=hand").code == "4.04"
    by_proxy(d, site.vendor, image)
    for state, result, wanted in ((1, 0, "transferring"), (2, 0, "transferred"), (3, 0, "applying"), (0, 1, "confirmed")):
        report = {0: bytes.fromhex(u["id"]), 1: state, 2: result, **({3: 7, 5: "1.7.0"} if result == 1 else {})}
        a = coapc.request(f"{d.coap}/fw/r?ep=hand", "post", cbor2.dumps(report), ct=60)
        assert a.code == "2.04", a.log
        assert [j["state"] for j in d.items("jobs?device=hand")] == [wanted]
    a = coapc.request(f"{d.coap}/fw?ep=hand", options=[(4, "0x" + u["id"][:16])])
    assert a.code == "2.03", a.log
    assert coapc.request(f"{d.coap}/fw/i/{digest}?ep=hand").code == "4.04"          # the offer is over
    assert d.get("devices/hand")["components"][0]["sequence"] == 7


@pytest.mark.parametrize("body,ct,code", [
    (b"", 60, "4.00"), (b"\xa0", 60, "4.00"), (b"\x9f", 60, "4.00"), (b"\xbf\x00", 60, "4.00"),
    (cbor2.dumps({0: b"x" * 32, 1: 0, 2: 1}), 60, "4.04"), (cbor2.dumps({0: b"x" * 32, 1: 99, 2: 1}), 60, "4.00"),
    (cbor2.dumps([1]), 60, "4.00"), (b"hello", 0, "4.15"), (cbor2.dumps({0: "zz", 1: 0, 2: 0}), 60, "4.00"),
    (b"\x9f" * 2000, 60, "4.00"),
], ids=lambda v: None if not isinstance(v, bytes) else v[:8].hex() or "empty")
def test_wrong_reports_are_refused(shared_daemon, body, ct, code):
    enrol_by_claim(shared_daemon, "reporter")
    assert coapc.request(f"{shared_daemon.coap}/fw/r?ep=reporter", "post", body, ct=ct).code == code


def test_offers_are_observed(site, world):
    """A node that is always on hears of its update, and of the recall: 2.03 first, the envelope, 2.03 again (OB-1)."""
    enrol_by_claim(site.daemon, "awake")
    o = world.add(coapc.Observer(world.dir, f"{site.daemon.coap}/fw?ep=awake", options=[(4, "0x0000000000000000")]))
    codes = lambda: [p.code for p in o.notifications()]
    lib.wait_for(lambda: codes() == ["2.03"], "the observation begins", 10, [site.daemon])
    envelope = site.vendor.publish(3)
    lib.wait_for(lambda: codes()[-1] == "2.05", f"the offer is told: {codes()}", 20, [site.daemon])
    with open(o.out, "rb") as f:
        assert envelope in f.read()
    u = site.daemon.wait_update(state="available", sequence=3)
    site.daemon.post(f"updates/{u['id']}/recall", {"reason": "test"})
    lib.wait_for(lambda: codes()[-1] != "2.05", "the recall is told", 10, [site.daemon])
    assert codes()[-1] == "2.03"


# ---- DTLS ----

def closed(world, **directory):
    d = world.daemon({"directory": {"open": False, "auto_enrol": False, **directory}})
    for device in ("s1", "s2"):
        assert d.api(f"devices/{device}", "PUT", {"identity": device, "vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid())})[0] == 200
    assert d.api("credentials/s1", "PUT", {"secret_hex": KEY.encode().hex(), "device": "s1"})[0] == 200
    return d


def test_dtls_with_a_pre_shared_key(world):
    """A site with its door closed: keys open it, wrong keys and plain CoAP do not, and a key speaks for its own device only."""
    d = closed(world)
    me = ("s1", KEY)
    assert "core.rd" in coapc.request(f"{d.coaps}/.well-known/core", psk=me).text
    a = coapc.request(f"{d.coaps}/rd?ep=s1&lt=600", "post", "</x>", ct=40, psk=me)
    assert a.code == "2.01", a.log
    assert [e["owner"] for e in d.items("endpoints")] == ["s1"]
    assert coapc.request(f"{d.coaps}/rd?ep=s2", "post", "</x>", ct=40, psk=me).code == "4.03"
    assert coapc.request(f"{d.coaps}/fw?ep=s2", psk=me).code == "4.03"
    assert coapc.request(f"{d.coaps}/fw", psk=me).code == "4.04"
    for wrong in (("s1", "fedcba9876543210"), ("s2", KEY), ("nobody", KEY)):
        a = coapc.request(f"{d.coaps}/.well-known/core", psk=wrong, seconds=3)
        assert a.code is None and not a.body, a.log
    a = coapc.request(f"{d.coap}/rd?ep=s1", "post", "</x>", ct=40)
    assert a.code in ("4.01", "4.03"), a.log
    assert coapc.request(f"{d.coap}/rd?ep=new", "post", "</x>", ct=40).code in ("4.01", "4.03")
    assert coapc.request(f"{d.coap}/fw?ep=s1").code in ("4.01", "4.03")
    assert coapc.request(f"{d.coap}/rd-lookup/ep").code == "4.01"     # RD-85
    assert coapc.request(f"{d.coap}/.well-known/core?rt=core.rd").code == "2.05"
    assert len(coapc.request(f"{d.coaps}/rd-lookup/ep", psk=me).links) == 1
    assert len(d.items("endpoints")) == 1


def test_a_key_that_is_taken_away_ends_its_session(world):
    d = closed(world)
    assert coapc.request(f"{d.coaps}/rd?ep=s1", "post", "</x>", ct=40, psk=("s1", KEY)).code == "2.01"
    assert d.api("credentials/s1", "DELETE")[0] == 200
    assert coapc.request(f"{d.coaps}/fw", psk=("s1", KEY), seconds=3).code is None


def test_blockwise_over_dtls(world):
    d = closed(world)
    links = ",".join(f'</r/{i}>;rt="x"' for i in range(60))
    assert coapc.request(f"{d.coaps}/rd?ep=s1", "post", links, ct=40, block=64, psk=("s1", KEY)).code == "2.01"
    assert len(coapc.request(f"{d.coaps}/rd-lookup/res?ep=s1", block=128, psk=("s1", KEY)).links) == 60
