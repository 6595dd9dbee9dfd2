"""Bluetooth LE nodes as resources: a real daemon on a private bus with a scripted bluetoothd, asked by coap-client, curl and npm's coap.
BLE-1 to BLE-10, HC-15."""
import base64
import http.client
import json
import os
import subprocess

import cbor2
import pytest

import coapc
import lib
from bluez import INDICATE, NORESP, NOTIFY, READ, WRITE, Bluez, short

ADDRESS, ID = "C0:00:00:00:00:01", "ble-c00000000001"
ADMIN, VIEWER, NOBODY = ("alice", "alice-has-this-key"), ("vic", "vic-may-only-look"), ("node-7", "a-node-is-no-admin")
BATTERY, LEVEL = short(0x180f), short(0x2a19)
ENVIRONMENT, TEMPERATURE = short(0x181a), short(0x2a6e)
INFORMATION, MANUFACTURER = short(0x180a), short(0x2a29)
VENDOR, KNOB, TICKS, FLAP = ("12345678-1234-5678-1234-56789abcde%s" % x for x in ("f0", "f1", "f2", "f3"))
SMP, SMP_CHARACTERISTIC = "8d53dc1d-1db7-4cd3-868b-8a527460aa84", "da2e7828-fbce-4e01-ae9e-261174997c48"
TD, SERVICELIST, CHARACTERISTICLIST, SENML_JSON, SENML_CBOR = 432, 65061, 65062, 110, 112


class House:
    """A daemon with a token and people's keys, and one node with a bit of everything."""

    def __init__(self, world, config=None):
        self.world, self.bluez = world, world.add(Bluez())
        b = self.bluez
        b.node(ADDRESS, "lamp", BATTERY)
        self.level = b.characteristic(ADDRESS, BATTERY, LEVEL, READ | NOTIFY, b"\x32")
        self.temperature = b.characteristic(ADDRESS, ENVIRONMENT, TEMPERATURE, READ | NOTIFY, b"\x66\x08")
        self.maker = b.characteristic(ADDRESS, INFORMATION, MANUFACTURER, READ, b"ACME")
        self.knob = b.characteristic(ADDRESS, VENDOR, KNOB, READ | WRITE | NORESP, b"\x00")
        self.ticks = b.characteristic(ADDRESS, VENDOR, TICKS, NOTIFY)
        self.flap = b.characteristic(ADDRESS, VENDOR, FLAP, INDICATE | NORESP)
        self.smp = b.characteristic(ADDRESS, SMP, SMP_CHARACTERISTIC, NORESP | NOTIFY)
        self.people, self.token_file = os.path.join(world.dir, "people"), os.path.join(world.dir, "token")
        self.write(self.people, "".join(f"{who} {role} {key.encode().hex()}\n" for (who, key), role in ((ADMIN, "admin"), (VIEWER, "viewer"))))
        self.token = "a-token-of-this-house"
        self.write(self.token_file, self.token + "\n")
        ble = {"enabled": True, "open": True, "idle_s": 2, **((config or {}).pop("ble", {}))}
        self.daemon = world.daemon({"ble": ble, "admin": {"credentials_file": self.people}, "http": {"token_file": self.token_file},
                                    **(config or {})}, env=b.env)
        self.base = f"nodes/{ID}"
        lib.wait_for(lambda: any(n.get("href", "").endswith(ID) for n in self.web("gap/nodes/passive")), "the node is heard", 30, [self.daemon])

    @staticmethod
    def write(path, text):
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o600)

    def path(self, handle):
        return f"{self.base}/c{handle}"

    def coap(self, path="", method="get", payload=None, accept=None, psk=None, **kw):
        d = self.daemon
        return coapc.request(f"{d.coaps if psk else d.coap}/ble{'/' if path else ''}{path}", method, payload, accept=accept, psk=psk, **kw)

    def curl(self, path, *args, token=True):
        """(status, headers, body) by curl."""
        auth = ["-H", f"Authorization: Bearer {self.token}"] if token else []
        p = subprocess.run(["curl", "-sS", "-i", "--path-as-is", "-m", "20", *auth, *args, f"http://{self.daemon.http}/hc/ble:/{path}"],
                           capture_output=True, timeout=60)
        assert p.returncode == 0, p.stderr
        head, _, body = p.stdout.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        return int(lines[0].split()[1]), {k.lower(): v for k, _, v in (x.partition(": ") for x in lines[1:])}, body

    def web(self, path, accept="application/json"):
        status, _, body = self.curl(path, "-H", f"Accept: {accept}")
        assert status == 200, body
        return json.loads(body)


@pytest.fixture
def house(world):
    return House(world)


@pytest.fixture
def make_house(world):
    return lambda config=None: House(world, config)


def without_prefix(value, prefix):
    return json.loads(json.dumps(value).replace(prefix, ""))


def test_the_same_tree_over_coap_and_http(house):
    """BLE-1 to BLE-3, BLE-6, BLE-8: JSON, CBOR and the strict lists say the same; hrefs stay in the namespace that was asked."""
    h = house
    nodes = h.coap("gap/nodes/passive", accept=50)
    assert nodes.code == "2.05" and nodes.last.get("Content-Format") == "application/json"
    node = next(n for n in json.loads(nodes.body) if n["address"] == ADDRESS)
    assert base64.b64decode(node["bdaddr"]) == bytes.fromhex("c00000000001") and node["href"] == f"/ble/nodes/{ID}" and node["name"] == "lamp"
    assert without_prefix([n["href"] for n in h.web("nodes")], "/hc/ble:/") == [f"nodes/{ID}"]
    assert cbor2.loads(h.coap("nodes").body)[0]["bdaddr"] == bytes.fromhex("c00000000001")
    services = json.loads(h.coap(f"{h.base}/services", accept=50).body)
    assert without_prefix(services, "/ble/") == without_prefix(h.web(f"{h.base}/services"), "/hc/ble:/")
    strict = cbor2.loads(h.coap(f"{h.base}/services", accept=SERVICELIST).body)
    assert [set(s) for s in strict] == [{"href", "uuid"}] * 4 and [len(s["uuid"]) for s in strict] == [16] * 4
    assert {str(s["uuid_text"]) for s in services} == {BATTERY, ENVIRONMENT, INFORMATION, VENDOR}, "the service for updates is not shown"
    mine = next(s for s in services if s["uuid_text"] == VENDOR)
    octet = bytes([READ | WRITE | NORESP])
    for accept, properties in ((50, base64.b64encode(octet).decode()), (CHARACTERISTICLIST, octet)):
        body = h.coap(mine["href"][len("/ble/"):] + "/characteristics", accept=accept).body
        found = json.loads(body) if accept == 50 else cbor2.loads(body)
        assert [c["href"] for c in found] == [f"/ble/{h.path(x)}" for x in (h.knob, h.ticks, h.flap)]
        assert found[0]["properties"] == properties
    assert h.coap(accept=50).code == "2.05" and h.web("")["health"] == "ready"
    assert h.bluez.calls(None, "Connect") == 1, "one link was enough for all of it"


def test_values_in_every_format(house):
    """BLE-4."""
    h = house
    assert h.coap(h.path(h.level)).body == b"\x32"
    assert h.coap(h.path(h.level), accept=0).text == "50"
    assert h.coap(h.path(h.temperature), accept=0).text == "21.50"
    assert json.loads(h.coap(h.path(h.temperature), accept=SENML_JSON).body) == [{"bn": f"{ID}/", "n": "temperature", "u": "Cel", "v": 21.5}]
    assert cbor2.loads(h.coap(h.path(h.temperature), accept=SENML_CBOR).body) == [{0: "temperature", 1: "Cel", 2: 21.5, -2: f"{ID}/"}]
    status, headers, body = h.curl(h.path(h.maker), "-H", "Accept: text/plain")
    assert (status, body) == (200, b"ACME") and headers["content-type"].startswith("text/plain")
    assert h.curl(h.path(h.knob))[2] == b"\x00"
    assert h.coap(h.path(h.knob), accept=0).code == "4.06" and h.curl(h.path(h.knob), "-H", "Accept: text/plain")[0] == 406
    assert h.coap(h.path(h.ticks)).code == "4.05"


def test_who_may_read_and_who_may_write(house):
    h = house
    url = h.path(h.knob)
    assert h.coap(url, psk=VIEWER).code == "2.05"
    assert h.coap(url, "put", b"\x01").code == "4.01"
    assert h.coap(url, "put", b"\x01", psk=VIEWER).code == "4.03"
    assert h.coap(url, "put", b"\x01\x02", psk=ADMIN).code == "2.04"
    assert h.coap(url, "post", b"\x03", psk=ADMIN).code == "2.04"
    assert h.curl(url, "-X", "PUT", "--data-binary", "x", token=False)[0] == 403
    assert h.curl(url, "-X", "PUT", "--data-binary", "x")[0] == 415, "a form is no value"
    octets = ["-H", "Content-Type: application/octet-stream"]
    assert h.curl(url, "-X", "PUT", "--data-binary", "x", *octets)[0] == 204
    assert h.curl(url + "?noresponse", "-X", "PUT", "--data-binary", "y", *octets)[0] == 204
    assert h.curl(url, token=False)[0] == 200, "loopback may look"
    lib.wait_for(lambda: h.bluez.written(h.knob) == b"\x01\x02\x03xy", "all was written", 10)
    entries = json.dumps(h.daemon.items("audit"))
    assert entries.count(f"c{h.knob}") >= 4 and "coaps:alice" in entries and "token@127.0.0.1" in entries and "vic" not in entries
    h.daemon.audit()


def test_plain_coap_is_closed_unless_opened(make_house):
    h = make_house({"ble": {"open": False}})
    assert h.coap("nodes").code == "4.01" and h.coap(h.path(h.level)).code == "4.01"
    assert h.coap("nodes", psk=VIEWER).code == "2.05"
    h.daemon.configure({"ble": {"open": True}})
    h.daemon.post("reload")
    assert h.coap("nodes").code == "2.05"


def test_observers_share_one_subscription(house):
    """OB-8, OB-10: coap-client twice and a curl that follows the event stream."""
    h = house
    url = f"/ble/{h.path(h.level)}"
    first = h.world.add(coapc.Observer(h.world.dir, h.daemon.coap + url, seconds=15 * lib.SLOW, linger_s=5, name="first", options=[(17, "")]))
    second = h.world.add(coapc.Observer(h.world.dir, h.daemon.coaps + url, seconds=15 * lib.SLOW, linger_s=5, name="second", psk=VIEWER,
                                        options=[(17, "")]))
    stream = h.world.add(coapc.Lines("curl", "-sSN", "-m", "60", "-H", "Accept: text/event-stream", f"http://{h.daemon.http}/hc/ble:/{h.path(h.level)}"))
    first.wait("50")
    second.wait("50")
    stream.wait(lambda x: x.startswith("data:") and '"text":"50"' in x, "curl reads the stream")
    begun = h.bluez.calls(None, "AcquireNotify") + h.bluez.calls(None, "StartNotify")
    assert begun == 1 and h.bluez.notify(h.level, b"\x07")
    first.wait("7")
    second.wait("7")
    stream.wait(lambda x: '"text":"7"' in x, "curl is told")
    stream.stop()
    assert h.bluez.has_subscriber(h.level)  # the others still look
    first.proc.wait(60 * lib.SLOW)  # cancels when its time is over
    second.proc.wait(60 * lib.SLOW)  # ends its session
    lib.wait_for(lambda: not h.bluez.has_subscriber(h.level), "the subscription ends with its last observer", 20)


def test_npm_coap_reads_and_observes(house):
    h = house
    npm = h.world.add(coapc.Lines("timeout", "60", "node", coapc.script("ble.mjs"), "127.0.0.1", h.daemon.coap_port, f"/ble/{h.path(h.level)}"))
    npm.wait(lambda x: '"told":"50"' in x, "npm's coap observes", 30)
    assert json.loads(npm.lines[0])["nodes"][0]["href"] == f"/ble/nodes/{ID}" and json.loads(npm.lines[1]) == {"code": "2.05", "text": "50"}
    assert h.bluez.notify(h.level, b"\x07")
    npm.wait(lambda x: '"told":"7"' in x, "npm's coap is told", 30)


def test_what_only_notifies_can_be_observed(house):
    h = house
    stream = h.world.add(coapc.Lines("curl", "-sSN", "-m", "60", "-H", "Accept: text/event-stream", f"http://{h.daemon.http}/hc/ble:/{h.path(h.ticks)}"))
    lib.wait_for(lambda: h.bluez.has_subscriber(h.ticks), "it is subscribed to", 20)
    assert h.bluez.notify(h.ticks, b"tick")
    line = stream.wait(lambda x: x.startswith("data:"), "a value")
    assert base64.b64decode(json.loads(line[5:])["octets"]) == b"tick"
    assert h.curl(h.path(h.knob), "-H", "Accept: text/event-stream")[0] == 405


def test_an_observation_outlives_a_lost_link_and_bluetoothd(house):
    h = house
    stream = h.world.add(coapc.Lines("curl", "-sSN", "-m", "120", "-H", "Accept: text/event-stream", f"http://{h.daemon.http}/hc/ble:/{h.path(h.level)}"))
    stream.wait(lambda x: '"text":"50"' in x, "the first value")
    h.bluez.say("disconnect", ADDRESS)
    lib.wait_for(lambda: h.bluez.notify(h.level, b"\x08"), "it is subscribed to again", 60)
    stream.wait(lambda x: '"text":"8"' in x, "a value after the link")
    h.bluez.say("stop")
    lib.wait_for(lambda: h.web("")["health"] != "ready", "the daemon sees that bluetoothd went", 20)
    assert h.coap(h.path(h.level)).code in ("4.04", "5.04") and h.curl(h.path(h.level))[0] in (404, 504)
    h.bluez.say("start")
    lib.wait_for(lambda: h.bluez.notify(h.level, b"\x09"), "it is subscribed to once more", 90)
    stream.wait(lambda x: '"text":"9"' in x, "a value after bluetoothd's restart")
    assert not any(x.startswith("event: ended") for x in stream.lines)


def test_nodes_stand_in_the_directory(house):
    """BLE-9."""
    h = house
    eps = lib.wait_for(lambda: lookup(h, "ep", f"ep={ID}"), "it is registered", 20)
    assert len(eps) == 1 and eps[0][1]["et"] == "ble.node" and eps[0][1]["base"].startswith("coaps://127.0.0.1")
    assert [t for t, _ in lookup(h, "res", f"ep={ID}")] == [f"{eps[0][1]['base']}/ble/nodes/{ID}{x}" for x in ("", "/td")]
    assert h.coap(f"{h.base}/services").code == "2.05"
    found = lib.wait_for(lambda: lookup(h, "res", "rt=ble.2a19"), "its values are there once they are known", 20)
    assert len(found) == 1 and found[0][0].endswith(f"/ble/{h.path(h.level)}") and "obs" in found[0][1] and "42" in found[0][1]["ct"].split()
    assert len(lookup(h, "res", f"rt=urn:uuid:{KNOB}")) == 1
    assert not lookup(h, "res", f"rt=urn:uuid:{SMP_CHARACTERISTIC}")
    things = lookup(h, "res", "rt=wot.thing")
    assert len(things) == 1 and coapc.request(things[0][0], psk=VIEWER).last.get("Content-Format") == "432"
    # and is a device that was seen, for somebody to enrol
    assert h.daemon.get(f"devices/{ID}")["state"] == "seen"
    # which nobody takes over who comes by plain CoAP
    assert coapc.request(f"{h.daemon.coap}/rd?ep={ID}&base=coap://192.0.2.1", "post", "</x>", ct=40).code == "4.03"


def test_a_node_with_more_values_than_links_is_registered_all_the_same(make_house):
    h = make_house({"directory": {"open": True, "max_links": 3}})
    assert h.coap(f"{h.base}/services").code == "2.05"
    assert h.coap(f"{h.base}/td", accept=TD).code == "2.05"
    assert [t.rsplit("/ble/", 1)[1] for t, _ in lookup(h, "res", f"ep={ID}")] == [f"nodes/{ID}", f"nodes/{ID}/td"]


def test_a_node_that_goes_leaves_the_directory(make_house):
    h = make_house({"ble": {"gone_s": 10}})
    lib.wait_for(lambda: lookup(h, "ep", f"ep={ID}"), "it is registered", 20)
    h.bluez.say("remove", ADDRESS)
    lib.wait_for(lambda: not lookup(h, "ep", f"ep={ID}"), "it is gone from the directory", 60)
    assert h.coap(h.path(h.level)).code == "4.04"


def lookup(h, which, query):
    return coapc.request(f"{h.daemon.coap}/rd-lookup/{which}?{query}").links


def test_a_restart_leaves_no_stale_nodes(house):
    h = house
    lib.wait_for(lambda: lookup(h, "ep", f"ep={ID}"), "it is registered", 20)
    h.daemon.stop()
    h.daemon.configure({"ble": {"resources": False}})
    h.daemon.start()
    assert h.coap("nodes").code == "4.04" and h.curl("nodes")[0] == 404
    h.daemon.stop()
    h.daemon.configure({"ble": {"resources": True}})
    h.daemon.start()
    lib.wait_for(lambda: h.coap("nodes").code == "2.05" and lookup(h, "ep", f"ep={ID}"), "it is back", 30)


def test_the_description_tells_how_to_reach_everything(house):
    """Each form of the Thing Description is used as it says."""
    h = house
    td = json.loads(h.coap(f"{h.base}/td", accept=TD).body)
    assert td == h.web(f"{h.base}/td", "application/td+json")
    assert td["@context"][0] == "https://www.w3.org/2022/wot/td/v1.1" and td["title"] == "lamp"
    assert set(td["properties"]) == {f"c{x}" for x in (h.level, h.temperature, h.maker, h.knob)} | {f"c{h.flap}"}
    assert set(td["events"]) == {f"c{x}" for x in (h.ticks, h.flap)}
    assert f"c{h.smp}" not in json.dumps(td)
    tried = set()
    for f in td["properties"][f"c{h.temperature}"]["forms"]:
        scheme = td["securityDefinitions"][f["security"][0]]["scheme"]
        if "readproperty" not in f["op"]:
            continue
        if f["href"].startswith("coap"):
            got = coapc.request(f["href"], accept=f["cov:accept"], psk=VIEWER if scheme == "psk" else None).text
        else:
            auth = ["-H", f"Authorization: Bearer {h.token}"] if scheme == "bearer" else []
            got = lib.run("curl", "-sS", "-g", *auth, "-H", "Accept: " + f["contentType"], f["href"]).stdout
        assert json.loads(got) == 21.5, f
        tried.add((f["href"].partition(":")[0], scheme))
    assert tried == {("coaps", "psk"), ("coap", "nosec"), ("http", "bearer"), ("http", "nosec")}
    for f in td["properties"][f"c{h.knob}"]["forms"]:
        if "writeproperty" in f["op"]:
            assert td["securityDefinitions"][f["security"][0]]["scheme"] in ("psk", "bearer")


def test_what_goes_wrong_says_so(house):
    """BLE-10, BLE-7."""
    h = house
    raw = lib.udp(h.daemon.coap_port, lib.coap_message(1, "", options=[(35, b"ble:/gap/nodes/passive")]))
    assert lib.coap_parse(raw)[0] == 0xa5, "Proxy-Uri ble: is 5.05"
    for path, code in ((f"nodes/{ID[:-1]}2", "4.04"), ("nodes/x", "4.04"), (h.path("fff0"), "4.04"), (h.path(h.smp), "4.04"), (f"{h.base}/s0001", "4.04")):
        assert h.coap(path).code == code, path
    assert h.coap(h.path(h.smp), "post", b"\x02", psk=ADMIN).code == "4.04", "no way around the intake"
    assert h.coap(h.path(h.level), "put", b"x", psk=ADMIN).code == "4.05"
    assert h.coap(h.path(h.flap), "put", b"x", psk=ADMIN).code == "4.05"
    assert h.coap(h.path(h.knob), "put", bytes(513), psk=ADMIN).code == "4.13"
    assert h.coap(h.path(h.knob), "delete", psk=ADMIN).code == "4.05"
    where = f"char{int(h.level, 16):04x}"
    for error, code, status in (("org.bluez.Error.NotPermitted", "4.05", 405), ("org.bluez.Error.NotAuthorized", "4.03", 403),
                                ("org.bluez.Error.InvalidValueLength", "4.00", 400), ("org.bluez.Error.NotSupported", "4.05", 405)):
        h.bluez.fail(where, "ReadValue", -1, error)
        assert h.coap(h.path(h.level)).code == code, error
        got, headers, body = h.curl(h.path(h.level))
        assert got == status and headers["content-type"] == "application/problem+json" and json.loads(body)["detail"], error
        h.bluez.say("mend")
    assert h.coap(h.path(h.level)).code == "2.05"


def test_services_that_the_configuration_closes(make_house):
    h = make_house({"ble": {"closed_services": [VENDOR]}})
    services = h.web(f"{h.base}/services")
    assert VENDOR not in {s["uuid_text"] for s in services}
    assert h.coap(h.path(h.knob)).code == "4.04"
    h.daemon.configure({"ble": {"closed_services": []}})
    h.daemon.post("reload")
    assert h.coap(h.path(h.knob)).code == "2.05"


def test_head_and_keep_alive(house):
    h = house
    c = http.client.HTTPConnection(*h.daemon.http.rsplit(":", 1), timeout=20)
    for _ in range(3):
        c.request("HEAD", f"/hc/ble:/{h.path(h.level)}", headers={"Host": "localhost"})
        r = c.getresponse()
        assert r.status == 200 and r.read() == b"" and r.getheader("Content-Length") == "1"
    c.close()
