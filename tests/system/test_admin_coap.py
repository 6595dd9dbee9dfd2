"""Administration over coaps, with coap-client and Debian's CBOR library: the nouns of the HTTP API, approval and recall, by role;
nothing of it over plain CoAP, nothing for a node's key."""
import os

import cbor2
import pytest

import coapc
import lib

ADMIN, VIEWER, NODE = ("alice", "alice-has-this-key"), ("vic", "vic-may-only-look"), ("node-000", "a-node-is-no-admin")


@pytest.fixture
def run(make_site):
    """A site with two nodes, an update that waits, and people with keys."""
    s = make_site(source={"policy": "approve"}, start=False)
    d = s.daemon
    s.people = os.path.join(s.world.dir, "people")
    people(s, ADMIN + ("admin",), VIEWER + ("viewer",))
    d.configure({"admin": {"coap": True, "credentials_file": s.people}})
    d.start()
    s.nodes(2, sleep=3600)
    assert d.api("credentials/node-000", "PUT", {"secret_hex": NODE[1].encode().hex(), "device": "node-000"})[0] == 200
    s.vendor.publish(2)
    s.update = d.wait_update(state="available", sequence=2)
    return s


def people(s, *rows):
    with open(s.people, "w") as f:
        f.write("# identity role key\n" + "".join(f"{who} {role} {key.encode().hex()}\n" for who, key, role in rows))
    os.chmod(s.people, 0o600)


def ask(s, path, who=VIEWER, method="get", body=None, **kw):
    a = coapc.request(f"{s.daemon.coaps}/admin/{path}", method, None if body is None else cbor2.dumps(body),
                      ct=None if body is None else 60, psk=who, **kw)
    if a.code and a.code[0] == "2":
        a.value = cbor2.loads(a.body) if a.body else None
    return a


def without_times(x):
    """What does not change between two requests."""
    if isinstance(x, dict):
        return {k: without_times(v) for k, v in x.items()
                if k not in ("expires_in_s", "now", "loop_max_microseconds", "polled_at", "next_poll_at", "last_seen", "used_at", "state_at")}
    return [without_times(v) for v in x] if isinstance(x, list) else x


def test_the_nouns_are_those_of_http(run):
    """The same item by item, for every route that is for both."""
    d, u = run.daemon, run.update["id"]
    for path in ("status", "health", "devices", "devices/node-000", "endpoints", f"endpoints/{d.items('endpoints')[0]['location']}", "updates",
                 f"updates/{u}", f"updates/{u}/verdict", f"updates/{u[:8]}", "images", "rollouts", "jobs", "sources", "audit/key"):
        a = ask(run, path)
        assert a.code == "2.05" and a.last.get("Content-Format") in ("application/cbor", "60"), (path, a.log[-1500:])
        assert without_times(a.value) == without_times(d.api(path)[1]), path
    a = ask(run, f"why-not?device=node-001&update={u[:8]}")
    assert a.value["allowed"] is False and a.value["blocks"]
    a = ask(run, "devices?limit=1", block=64)
    assert len(a.value["items"]) == 1 and a.value["next"]
    assert ask(run, f"devices?limit=1&after={a.value['next']}").value["items"][0] != a.value["items"][0]
    assert ask(run, "updates?state=recalled").value["items"] == []
    events = ask(run, "events/recent?types=update-state&limit=1").value["items"]
    assert "available" in events[0]["data"]["text"]
    assert [e["entry"]["subject"] for e in ask(run, f"audit?subject={u}").value["items"]] == [u] * len(d.items(f"audit?subject={u}"))
    assert ask(run, "jobs", accept=60).code == "2.05" and ask(run, "jobs", accept=50).code == "4.06"


def test_who_may_do_what(run):
    d, u = run.daemon, run.update["id"]
    assert ask(run, f"updates/{u}/approve", VIEWER, "post").code == "4.03"
    assert d.updates()[0]["approved"] is False
    for path in ("updates", f"updates/{u}/approve"):
        assert ask(run, path, NODE, "post" if "approve" in path else "get").code == "4.03"
        a = coapc.request(f"{d.coap}/admin/{path}", "post" if "approve" in path else "get")
        assert a.code in ("4.01", "4.03") and b"\xa3" not in a.body, a.log
    for path in ("credentials", "reload", "devices/node-000/state", "jobs/x/cancel", "nothing", ""):
        assert ask(run, path, ADMIN, "post").code in ("4.04", "4.05"), path
    for method in ("put", "delete", "fetch"):
        assert ask(run, "devices/node-000", ADMIN, method).code == "4.05", method
    assert len(d.items("devices")) == 2
    # a person's key opens no node's door
    assert coapc.request(f"{d.coaps}/fw?ep=node-001", psk=ADMIN).code in ("4.01", "4.03")
    assert coapc.request(f"{d.coaps}/fw/r?ep=node-001", "post", cbor2.dumps({0: bytes.fromhex(u), 1: 0, 2: 1}), ct=60, psk=ADMIN).code in ("4.01", "4.03")


def test_approve_and_recall(run):
    d, u = run.daemon, run.update["id"]
    a = ask(run, f"updates/{u[:8]}/approve", ADMIN, "post")
    assert a.code == "2.04" and a.value == {"ok": True}, a.log
    assert d.updates()[0]["approved_by"] == "coaps:alice"
    lib.wait_for(lambda: len(ask(run, "jobs?state=open").value["items"]) == 2, "jobs over CoAP", 20, [d])
    assert ask(run, f"updates/{u}/approve", ADMIN, "post").code == "4.09"
    assert ask(run, "updates/ffffffff/approve", ADMIN, "post").code == "4.04"
    for body in (b"\xa1", b"\x80", b"\xbf\xff", b"\xa1\x01\x02", b"\xa1\x66reason\x80"):
        a = coapc.request(f"{d.coaps}/admin/updates/{u}/recall", "post", body, ct=60, psk=ADMIN)
        assert a.code == "4.00", (body, a.code)
    assert coapc.request(f"{d.coaps}/admin/updates/{u}/recall", "post", '{"reason":"x"}', ct=50, psk=ADMIN).code in ("4.00", "4.15")
    assert d.updates()[0]["state"] == "available"
    assert ask(run, f"updates/{u}/recall", ADMIN, "post", {"reason": "by hand"}).code == "2.04"
    assert d.updates()[0]["state"] == "recalled" and "by hand" in d.updates()[0]["reason"]
    lib.wait_for(lambda: not d.items("jobs?state=open"), "jobs stopped", 10, [d])
    data = [e["entry"] for e in d.items(f"audit?subject={u}")]
    assert any("coaps:alice" in str(e) for e in data)


def test_the_file_of_people_is_the_truth(run):
    """Somebody who is taken out is out at the next reload; a changed key; a bad file changes nothing."""
    d = run.daemon
    assert ask(run, "status", ADMIN).code == "2.05"
    people(run, ("alice", "alice-has-another-key", "viewer"))
    d.post("reload")
    assert ask(run, "status", ADMIN, seconds=3).code is None
    assert ask(run, "status", VIEWER, seconds=3).code is None
    assert ask(run, "status", ("alice", "alice-has-another-key")).code == "2.05"
    assert ask(run, f"updates/{run.update['id']}/approve", ("alice", "alice-has-another-key"), "post").code == "4.03"
    with open(run.people, "a") as f:
        f.write("bob king 00112233445566778899aabbccddeeff\n")
    status, problem = d.api("reload", "POST")
    assert status == 422 and "people:3" in problem["detail"] and "viewer or admin" in problem["detail"]
    assert ask(run, "status", ("alice", "alice-has-another-key")).code == "2.05"
    assert d.api("credentials/alice", "DELETE")[0] == 409
    os.chmod(run.people, 0o644)
    assert d.api("reload", "POST")[0] == 422
    os.chmod(run.people, 0o600)
    people(run)
    d.post("reload")
    assert ask(run, "status", ("alice", "alice-has-another-key"), seconds=3).code is None


def test_it_is_off_unless_asked_for(daemon):
    assert "admin" not in coapc.request(f"{daemon.coap}/.well-known/core").text
    assert coapc.request(f"{daemon.coap}/admin/status").code == "4.04"
