"""kill -9 of the daemon at random instants while an update travels: nothing acknowledged is lost, every node ends on the right
image, and nothing but that image is ever installed. DORMOUSE_KILLS sets how many kills, DORMOUSE_SEED where they fall."""
import os
import random
import time

import lib

KILLS = int(os.environ.get("DORMOUSE_KILLS", "20"))
SEED = int(os.environ.get("DORMOUSE_SEED", "1"))
OPEN = {"queued": 0, "offered": 1, "transferring": 2, "transferred": 3, "applying": 4, "confirmed": 5}


class Memory:
    """What the API has shown once, and so was acknowledged, must still be true after a kill."""

    def __init__(self):
        self.updates, self.jobs, self.devices, self.endpoints, self.audit = {}, {}, set(), {}, 0

    def look(self, d):
        updates = {u["id"]: u for u in d.items("updates")}
        for i, was in self.updates.items():
            assert i in updates, f"update {i} is gone"
            assert updates[i]["sequence"] == was["sequence"]
            assert updates[i]["approved"] or not was["approved"], f"the approval of {i} is gone"
        jobs = {j["id"]: j for j in d.items("jobs")}
        for i, was in self.jobs.items():
            assert i in jobs, f"job {i} is gone"
            if was["state"] == "confirmed":
                assert jobs[i]["state"] == "confirmed", f"job {i} was confirmed and is {jobs[i]['state']}"
            assert jobs[i]["attempts"] >= was["attempts"]
        devices = {x["id"] for x in d.items("devices")}
        assert self.devices <= devices, f"devices {self.devices - devices} are gone"
        endpoints = {e["endpoint"]: e["location"] for e in d.items("endpoints")}
        for name, location in self.endpoints.items():
            assert endpoints.get(name) == location, f"endpoint {name} was at {location} and is at {endpoints.get(name)}"
        audit = d.get("status")["audit_entries"]
        assert audit >= self.audit, "audit entries are gone"
        self.updates, self.jobs, self.devices, self.endpoints, self.audit = updates, jobs, devices, endpoints, audit


def test_kill_9_at_random_instants_loses_nothing_acknowledged(make_site):
    site = make_site(config={"rollout": {"retry_s": 1, "retry_max": 50}}, source={"policy": "approve"})
    d, rng, memory = site.daemon, random.Random(SEED), Memory()
    nodes = site.nodes(10, sleepers=4, sleep=2, awake=1, lifetime=600)
    memory.look(d)
    sequence, image, kills = 1, None, 0
    while kills < KILLS:
        sequence += 1
        image = lib.image_bytes(120_000, seed=sequence)
        site.vendor.publish(sequence, image=image)
        per_round = min(KILLS - kills, 10)
        approved = False
        for _ in range(per_round):
            kills += 1
            end = time.monotonic() + rng.expovariate(1 / 0.5)
            while time.monotonic() < end:  # the instant is the test's input; until then it works with the daemon
                memory.look(d)
                u = next((u for u in memory.updates.values() if u["sequence"] == sequence), None)
                if u and not approved and u["state"] in ("verified", "available"):
                    d.post(f"updates/{u['id']}/approve")
                    approved = True
                    memory.look(d)
            d.kill9()
            d.start()
            memory.look(d)
        if not approved:
            u = d.wait_update(sequence=sequence, state="available")
            d.post(f"updates/{u['id']}/approve", want=(200, 202, 409))
        nodes.wait_sequence(sequence, 90)
        assert set(lib.sha256(b) for b in nodes.installed().values()) == {lib.sha256(image)}
    lib.wait_for(lambda: not d.items("jobs?state=open"), "every job is confirmed", 60)
    memory.look(d)
    assert "image does not match" not in nodes.log_text()
    lib.ctl("-s", d.sock, "audit", "verify")


def test_nodes_that_crash_and_lose_datagrams_still_get_there(make_site):
    site = make_site(config={"rollout": {"retry_s": 1, "retry_max": 50}})
    nodes = site.nodes(6, crash=0.02, loss=0.02, ack_timeout=1000, seed=SEED)
    image = lib.image_bytes(40_000)
    site.vendor.publish(2, image=image)
    nodes.wait_sequence(2, 150)
    assert set(lib.sha256(b) for b in nodes.installed().values()) == {lib.sha256(image)}


def test_a_thousand_endpoints_at_once(make_site):
    """Each registers, gets the image, and reports; the daemon stays small and answers all the while."""
    site = make_site(config={"directory": {"max_endpoints": 2000}})
    count = 100 if lib.is_sanitized() else 1000
    nodes = site.nodes(count, wait=False)
    lib.wait_for(lambda: site.daemon.get("status")["endpoints"] >= count, "all registered", 90, [nodes, site.daemon])
    site.vendor.publish(2, image=lib.image_bytes(8_000))
    nodes.wait_sequence(2, 180)
    lib.wait_for(lambda: site.daemon.get("status")["jobs_open"] == 0, "every job is confirmed", 60)
    status = site.daemon.get("status")
    print(f"\n{count} nodes: resident {site.daemon.memory() // 1024} KiB, longest turn {status['loop_max_microseconds']} us")
    assert site.daemon.memory("VmHWM") < (2000 if lib.is_sanitized() else 300) * 1024 * 1024
