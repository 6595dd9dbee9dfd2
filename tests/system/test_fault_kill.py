"""kill -9 of the daemon at random instants of the demo's scenario: nothing acknowledged is lost, every node ends on the right
image, and nothing but that image is ever installed. DORMOUSE_KILLS sets how many kills, DORMOUSE_SEED where they fall."""
import os
import random
import threading
import time

import cbor2

import lib

KILLS = int(os.environ.get("DORMOUSE_KILLS", "20"))
SEED = int(os.environ.get("DORMOUSE_SEED", "1"))
CREATED, DELETED, CHANGED = 0x41, 0x42, 0x44


class Clients(threading.Thread):
    """People and nodes of our own that talk to the daemon until it is killed, and remember what it acknowledged."""

    def __init__(self, daemon, facts, tag):
        super().__init__(daemon=True)
        self.d, self.facts, self.tag, self.over, self.error = daemon, facts, tag, threading.Event(), None

    def coap(self, *args, **kw):
        reply = lib.udp(self.d.coap_port, lib.coap_message(*args, **kw), timeout=0.5)
        return lib.coap_parse(reply) if reply else (None, [], b"")

    def register(self, i):
        ep = f"probe-{self.tag}-{i}"
        code, options, _ = self.coap(0x02, "rd", mid=i & 0xffff, token=b"r", options=[(15, b"ep=" + ep.encode()), (15, b"lt=86400")])
        if code != CREATED:
            return
        path = "/".join(v.decode() for n, v in options if n == 8)
        self.facts.registered[ep] = path
        if i % 4 == 0:
            code, _, _ = self.coap(0x04, path, mid=i + 30000 & 0xffff, token=b"d")
            del self.facts.registered[ep]       # not known, unless it said so
            if code == DELETED:
                self.facts.removed.add(ep)

    def report(self, i):
        """As a node that has installed what it was offered."""
        for u in self.d.items("updates"):
            job = next((j for j in self.d.items(f"jobs?device=reporter&update={u['id']}") if j["is_open"]), None)
            if u["state"] != "available" or not job:
                continue
            body = cbor2.dumps({0: bytes.fromhex(u["id"]), 1: 0, 2: 1, 3: u["sequence"]})
            code, _, _ = self.coap(0x02, "fw/r", body, mid=i + 50000 & 0xffff, token=b"p", options=[(12, b"\x3c"), (15, b"ep=reporter")])
            if code == CHANGED:
                self.facts.confirmed.add(job["id"])

    def approve(self):
        for u in self.d.items("updates"):
            if not u["approved"] and u["state"] in ("verified", "available"):
                if self.d.api(f"updates/{u['id']}/approve", "POST")[0] == 200:
                    self.facts.approved.add(u["id"])

    def run(self):
        i = 0
        while not self.over.is_set():
            i += 1
            try:
                self.register(i)
                self.approve()
                self.report(i)
                self.facts.look(self.d)
            except (OSError, ValueError, lib.http.client.HTTPException):
                pass  # killed in the middle of it: nothing was acknowledged
            except AssertionError as e:
                self.error = e
                return


class Facts:
    """What was acknowledged, and so must still be true after a kill."""

    def __init__(self):
        self.registered, self.removed, self.confirmed, self.approved = {}, set(), set(), set()
        self.updates, self.jobs, self.devices, self.audit = {}, {}, set(), 0

    def look(self, d):
        """What the API shows may be on its way to the disk; a write acknowledged afterwards proves that it is there."""
        updates, jobs = {u["id"]: u for u in d.items("updates")}, {j["id"]: j for j in d.items("jobs")}
        devices, audit = {x["id"] for x in d.items("devices")}, d.get("status")["audit_entries"]
        if d.api("devices/witness", "PUT", {"name": f"seen {time.monotonic_ns()}"})[0] in (200, 201):
            self.updates, self.jobs, self.devices, self.audit = updates, jobs, devices, audit

    def check(self, d):
        updates, jobs = {u["id"]: u for u in d.items("updates")}, {j["id"]: j for j in d.items("jobs")}
        for i, was in self.updates.items():
            assert i in updates, f"update {i} is gone"
            now = updates[i]
            assert now["sequence"] == was["sequence"]
            assert now["approved"] or not was["approved"], f"the approval of {i} is gone"
            if was["state"] in ("rejected", "recalled"):
                assert (now["state"], now["reason"]) == (was["state"], was["reason"]), f"the verdict on {i} changed to {now}"
            assert d.get(f"updates/{i}/verdict")["rules"]
        for i in self.approved:
            assert updates[i]["approved"], f"the approval of {i} is gone"
        for i, was in self.jobs.items():
            assert i in jobs, f"job {i} is gone"
            if was["state"] == "confirmed":
                assert jobs[i]["state"] == "confirmed", f"job {i} was confirmed and is {jobs[i]['state']}"
            assert jobs[i]["attempts"] >= was["attempts"]
        for i in self.confirmed:
            assert jobs[i]["state"] == "confirmed", f"job {i} was reported, acknowledged, and is {jobs[i]['state']}"
        assert self.devices <= {x["id"] for x in d.items("devices")}, "devices are gone"
        endpoints = {e["endpoint"]: e["location"].lstrip("/") for e in d.items("endpoints")}
        for ep, path in self.registered.items():
            assert endpoints.get(ep) in (path, path.split("/")[-1]), f"{ep} was at {path} and is at {endpoints.get(ep)}"
        assert not self.removed & set(endpoints), "what was removed is back"
        assert d.get("status")["audit_entries"] >= self.audit, "audit entries are gone"


def live_and_die(d, rng, facts, tag):
    """One life of the daemon of random length; now and then so short that it dies while it starts."""
    if rng.random() < 0.2:
        d.kill9()
        d.spawn()
        time.sleep(rng.uniform(0, 0.1) * lib.SLOW)  # the instant of death is the test's input
        d.kill9()
        d.start()
        facts.check(d)
        return
    clients = Clients(d, facts, tag)
    clients.start()
    time.sleep(rng.expovariate(1 / 0.5))
    d.kill9()
    clients.over.set()
    clients.join()
    assert clients.error is None
    d.start()
    facts.check(d)


def converge(site, nodes, sequence, image, facts):
    """Without kills from here: all nodes run that image, and no job is left."""
    d = site.daemon
    clients = Clients(d, facts, f"end-{sequence}")
    clients.start()
    nodes.wait_sequence(sequence, 90)
    lib.wait_for(lambda: not d.items("jobs?state=open"), "every job is confirmed", 60, [d, nodes])
    clients.over.set()
    clients.join()
    assert clients.error is None
    assert {lib.sha256(b) for b in nodes.installed().values()} == {lib.sha256(image)}
    assert all(n["failures"] == 0 for n in nodes.status()), nodes.status()


def test_kill_9_at_random_instants_loses_nothing_acknowledged(make_site, world):
    site = make_site(config={"rollout": {"retry_s": 1, "retry_max": 50}}, source={"policy": "approve"})
    stranger = world.pki("stranger")
    d, rng, facts = site.daemon, random.Random(SEED), Facts()
    nodes = site.nodes(10, sleepers=4, sleep=2, awake=2, ack_timeout=1000)
    who = ["ep=reporter", "lt=86400", f"vid={lib.vendor_uuid()}", f"cid={lib.class_uuid()}", "seq=1", "proof=none"]
    assert lib.udp(d.coap_port, lib.coap_message(0x02, "rd", options=[(15, q.encode()) for q in who]))[1] == CREATED
    sequence, kills = 1, 0
    while kills < KILLS:
        sequence += 1
        image = lib.image_bytes(120_000, seed=sequence)
        env, _, name = site.vendor.envelope(sequence, image=image)
        site.vendor.web.put(name, image)
        site.vendor.web.put("latest.suit", env)
        for n in range(min(KILLS - kills, 5)):
            live_and_die(d, rng, facts, kills)
            kills += 1
            if n == 1 and d.updates(sequence=sequence):  # somebody tries the old and the foreign while all that goes on
                bad = {"signer": stranger.signer} if sequence % 2 else {}
                site.vendor.web.put("latest.suit", site.vendor.envelope(1 if sequence % 2 == 0 else 1000 + sequence, image=b"bad", **bad)[0])
            if n == 3:
                site.vendor.web.put("latest.suit", env)
        site.vendor.web.put("latest.suit", env)
        d.post("sources/vendor/poll")
        converge(site, nodes, sequence, image, facts)
    good = {u["id"] for u in d.items("updates") if u["state"] in ("available", "superseded")}
    assert {j["update"] for j in d.items("jobs")} <= good
    print(f"\n{kills} kills, {len(facts.registered)} registrations, {len(facts.approved)} approvals, {len(facts.confirmed)} reports acknowledged")
    site.ocsp.set(site.pki.signer, "revoked")
    d.post("revocation/refresh")
    recalled = d.wait_update(state="recalled", sequence=sequence)
    d.kill9()
    d.start()
    assert d.get(f"updates/{recalled['id']}")["state"] == "recalled"
    assert "the tree is the one that was signed" in d.audit()


def test_a_node_that_is_killed_in_its_download_goes_on_where_it_was(make_site, world):
    site = make_site()
    line = world.add(lib.Line(site.daemon.coap_port))
    nodes = site.nodes(1, gateway=line.uri)
    image = lib.image_bytes(150_000)
    site.vendor.publish(2, image=image)
    lib.wait_for(lambda: any(n["received_bytes"] > 70_000 for n in nodes.status()), "half of it is there", 60, [nodes])
    nodes.kill9()
    passed = line.passed
    nodes.start(wait=False)
    nodes.wait_sequence(2)
    lib.wait_for(lambda: [j["state"] for j in site.daemon.items("jobs")] == ["confirmed"], "the job is confirmed")
    assert set(nodes.installed().values()) == {image}
    assert nodes.status()[0]["resumes"] >= 1
    assert line.passed - passed < 2 * 150_000 / 1024, "it began anew"


def test_a_line_that_is_cut_in_a_download_is_waited_for(make_site, world):
    site = make_site()
    line = world.add(lib.Line(site.daemon.coap_port))
    nodes = site.nodes(1, gateway=line.uri, ack_timeout=1000)
    image = lib.image_bytes(150_000)
    site.vendor.publish(2, image=image)
    lib.wait_for(lambda: any(n["received_bytes"] > 70_000 for n in nodes.status()), "half of it is there", 60, [nodes])
    line.is_cut = True
    end = time.monotonic() + 4
    lib.wait_for(lambda: time.monotonic() > end, "some retransmissions", 10, [nodes, site.daemon])
    line.is_cut = False
    nodes.wait_sequence(2)
    assert set(nodes.installed().values()) == {image}


def test_nodes_that_crash_and_lose_datagrams_still_get_there(make_site):
    site = make_site(config={"rollout": {"retry_s": 1, "retry_max": 50}})
    nodes = site.nodes(6, crash=0.02, loss=0.02, ack_timeout=1000, seed=SEED)
    image = lib.image_bytes(40_000)
    site.vendor.publish(2, image=image)
    nodes.wait_sequence(2, 150)
    assert set(lib.sha256(b) for b in nodes.installed().values()) == {lib.sha256(image)}
    assert sum(n["crashes"] for n in nodes.status()) > 0


def test_a_thousand_endpoints_at_once(make_site):
    """Each registers, gets the image, and reports; the daemon stays small and answers all the while."""
    site = make_site(config={"directory": {"max_endpoints": 2000}})
    count = 100 if lib.is_sanitized() else 1000
    nodes = site.nodes(count, wait=False)
    lib.wait_for(lambda: site.daemon.get("status")["endpoints"] >= count, "all registered", 90, [nodes, site.daemon])
    image = lib.image_bytes(8_000)
    site.vendor.publish(2, image=image)
    nodes.wait_sequence(2, 180)
    lib.wait_for(lambda: site.daemon.get("status")["jobs_open"] == 0, "every job is confirmed", 60)
    jobs = site.daemon.items("jobs")
    assert len(jobs) == count and {j["state"] for j in jobs} == {"confirmed"}
    assert {lib.sha256(b) for b in nodes.installed().values()} == {lib.sha256(image)} and len(nodes.installed()) == count
    status = site.daemon.get("status")
    print(f"\n{count} nodes: resident {site.daemon.memory() // 1024} KiB, longest turn {status['loop_max_microseconds']} us")
    assert site.daemon.memory("VmHWM") < (2000 if lib.is_sanitized() else 300) * 1024 * 1024
