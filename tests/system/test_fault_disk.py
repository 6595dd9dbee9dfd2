"""Disks that are full, read-only or damaged, and clocks that are wrong: a clear error, nothing lost that was promised, and
recovery by itself."""
import errno
import glob
import os
import subprocess

import pytest

import lib

YEAR = 31557600


def register(daemon, ep, kind=0, timeout=2.0):
    """POST /rd by hand; (code, location) or None when nothing comes back."""
    got = lib.udp(daemon.coap_port, lib.coap_message(0x02, "rd", b"", kind, os.getpid() & 0xffff, os.urandom(4),
                                                    [(12, b""), (15, b"ep=" + ep.encode())]), timeout)
    return got and got[1]


CREATED, UNAVAILABLE = 0x41, 0xa3


@pytest.fixture
def faulty(world):
    """A site whose daemon's disk and clock obey the test."""
    site = world.site(start=False)
    site.fault = lib.Fault(world.dir, site.daemon.state)
    site.daemon.env = site.fault.env()
    return site


def slow_node(site):
    """A node on a slow line: its download takes some seconds."""
    line = site.world.add(lib.Line(site.daemon.coap_port))
    return site.nodes(1, gateway=line.uri)


def under_way(node, n=5000):
    lib.wait_for(lambda: any(x["received_bytes"] > n for x in node.status()), "the download is under way", 30, [node])


def is_healthy(daemon):
    return daemon.api("health")[0] == 200


ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken": errno.EIO}


@pytest.mark.parametrize("what", ERRORS)
def test_a_disk_that_fails_during_the_run(faulty, what):
    """Nothing is acknowledged that is not kept; lookups and what is in memory go on; afterwards all is as it was to be."""
    daemon = faulty.daemon.start()
    node = faulty.nodes(1)
    faulty.vendor.publish(2)
    node.wait_sequence(2)
    assert register(daemon, "before") == CREATED
    faulty.fault.disk(ERRORS[what])
    assert register(daemon, "during") != CREATED
    status, body = daemon.api("devices/by-hand", "PUT", {"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid())})
    assert status >= 500 and body["detail"]
    faulty.vendor.publish(3)
    daemon.post("sources/vendor/poll")
    daemon.wait_source(False, r"could not be stored|cannot be|[Ss]pace|[Rr]ead-only|error|full")
    health = lib.wait_for(lambda: daemon.api("health")[0] == 503 and daemon.api("health")[1], "the health check says so")
    assert any(p["what"] == "store" for p in health["problems"]), health
    assert "the database cannot be written" in daemon.log_text()
    assert {e["endpoint"] for e in daemon.items("endpoints")} >= {"node", "before"}  # reading goes on
    assert faulty.fault.hits > 0
    faulty.fault.disk(0)
    assert register(daemon, "after") == CREATED
    assert daemon.api("devices/by-hand", "PUT", {"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid())})[0] in (200, 201)
    daemon.post("sources/vendor/poll")
    node.wait_sequence(3, 90)
    lib.wait_for(lambda: is_healthy(daemon), "healthy again")
    lib.wait_for(lambda: not daemon.items("jobs?state=open&device=node"), "the job is confirmed")
    daemon.wait_log("the database can be written again")
    daemon.restart()
    assert {e["endpoint"] for e in daemon.items("endpoints")} >= {"node", "before", "after"}
    assert {d["id"] for d in daemon.items("devices")} >= {"node", "before", "after", "by-hand"}
    assert "during" not in {e["endpoint"] for e in daemon.items("endpoints")} or register(daemon, "during") == CREATED
    assert "the tree is the one that was signed" in daemon.audit()


def test_a_disk_that_fails_during_a_transfer(faulty):
    """A node in the middle of its download gets all of it; its reports are taken when the disk is back."""
    daemon = faulty.daemon.start()
    node = slow_node(faulty)
    faulty.vendor.publish(2, image=lib.image_bytes(150000))
    under_way(node, 20000)
    faulty.fault.disk(errno.ENOSPC)
    lib.wait_for(lambda: any(n["total_bytes"] and n["received_bytes"] == n["total_bytes"] or n["phase"] not in ("idle", "fetching", "fetch")
                             for n in node.status()), "the node has it all", 60, [node, daemon])
    assert not [j for j in daemon.items("jobs") if j["state"] == "failed"]
    faulty.fault.disk(0)
    node.wait_sequence(2, 60)
    lib.wait_for(lambda: [j["state"] for j in daemon.items("jobs")] == ["confirmed"], "the job is confirmed", 60)


def test_a_recall_acts_even_on_a_full_disk(faulty):
    daemon = faulty.daemon.start()
    nodes = faulty.nodes(2, sleepers=2, sleep=4, awake=3)
    lib.wait_for(lambda: all(n["checks"] for n in nodes.status()), "each asked once")
    faulty.vendor.publish(2)
    u = daemon.wait_update(state="available", sequence=2)
    faulty.fault.disk(errno.ENOSPC)
    daemon.api(f"updates/{u['id']}/recall", "POST", {"reason": "bad"})
    had = {n["name"] for n in nodes.status() if n["sequence"] == 2 or n["received_bytes"]}
    wakes = {n["name"]: n["wakes"] for n in nodes.status()}
    lib.wait_for(lambda: all(n["wakes"] >= wakes[n["name"]] + 2 for n in nodes.status()), "they woke twice", 60, [nodes, daemon])
    assert {n["name"] for n in nodes.status() if n["sequence"] == 2} <= had
    faulty.fault.disk(0)


@pytest.mark.parametrize("what", ERRORS)
def test_a_disk_that_fails_at_the_start(faulty, what):
    faulty.fault.disk(ERRORS[what])
    code, log = faulty.daemon.run_to_end()
    assert code not in (0, None) and code > 0
    assert faulty.daemon.state in log and os.strerror(ERRORS[what]) in log
    faulty.fault.disk(0)
    faulty.daemon.start()


def mounted(world, size="6m"):
    """A daemon whose state directory is a small real filesystem in a mount namespace of its own."""
    site = world.site(start=False)
    os.makedirs(site.daemon.state)
    setup = f'mount -t tmpfs -o size={size} tmpfs "{site.daemon.state}" && exec "$0" "$@"'
    wrapper = ["unshare", "-rm", "sh", "-c", setup]
    if os.getuid() == 0:
        wrapper[1] = "-m"
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    site.daemon.wrapper = wrapper
    return site


def inside(site):
    """The state directory as the daemon sees it."""
    return f"/proc/{site.daemon.pid}/root{site.daemon.state}"


def test_a_real_full_disk(world):
    site = mounted(world)
    daemon = site.daemon.start()
    node = site.nodes(1)
    site.vendor.publish(2)
    node.wait_sequence(2)
    ballast = os.path.join(inside(site), "ballast")
    with pytest.raises(OSError) as full, open(ballast, "wb", 0) as f:
        while True:
            f.write(bytes(4096))
    assert full.value.errno == errno.ENOSPC
    for i in range(200):  # until the last reserve of the write-ahead log is used up
        if register(daemon, f"filler-{i}") != CREATED:
            break
    else:
        pytest.fail("200 registrations were kept by a full disk")
    site.vendor.publish(3, image=lib.image_bytes(1 << 20))
    daemon.post("sources/vendor/poll")
    lib.wait_for(lambda: not is_healthy(daemon), "the health check says so")
    kept = {e["endpoint"] for e in daemon.items("endpoints")}
    assert "node" in kept
    os.unlink(ballast)
    daemon.post("sources/vendor/poll")
    node.wait_sequence(3, 90)
    lib.wait_for(lambda: is_healthy(daemon), "healthy again")
    assert register(daemon, "after") == CREATED


def test_an_image_larger_than_the_disk(world):
    site = mounted(world, "3m")
    daemon = site.daemon.start()
    node = site.nodes(1)
    site.vendor.publish(2, image=lib.image_bytes(6 << 20))
    daemon.wait_update(sequence=2, reason=r"payload.*([Ss]pace|full)")
    assert register(daemon, "another") == CREATED
    site.vendor.publish(3)
    daemon.post("sources/vendor/poll")
    node.wait_sequence(3)


def test_a_state_directory_on_a_read_only_disk(world):
    site = world.site(start=False)
    os.makedirs(site.daemon.state)
    setup = f'mount -t tmpfs -o ro tmpfs "{site.daemon.state}" && exec "$0" "$@"'
    site.daemon.wrapper = ["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", setup]
    if subprocess.run([*site.daemon.wrapper, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    code, log = site.daemon.run_to_end()
    assert code > 0 and "Read-only file system" in log and site.daemon.state in log


def test_a_state_directory_that_is_a_file(world):
    site = world.site(start=False)
    with open(site.daemon.state, "w") as f:
        f.write("here I am\n")
    code, log = site.daemon.run_to_end()
    assert code > 0 and site.daemon.state in log and "Not a directory" in log


def test_two_daemons_do_not_share_a_directory(world, daemon):
    other = world.daemon({"state_dir": daemon.state}, name="other", start=False)
    code, log = other.run_to_end()
    assert code > 0 and daemon.state in log
    assert daemon.get("status")


# ---- damage ----

def image_file(daemon, digest):
    found = [f for f in glob.glob(os.path.join(daemon.state, "images", "**", "*"), recursive=True)
             if os.path.isfile(f) and digest in f.replace("/", "")]
    assert len(found) == 1, found
    return found[0]


def flip(path, at=None):
    os.chmod(path, 0o600)
    with open(path, "r+b") as f:
        at = os.path.getsize(path) // 2 if at is None else at
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ 1]))


def approve_site(world):
    return world.site(source={"policy": "approve"})


@pytest.mark.parametrize("how", ["one bit", "truncated", "longer", "gone", "empty"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_damaged_image_is_fetched_again(world, how, restart):
    """The image was damaged in the cache before it is offered: no node sees it, it is fetched again and delivered."""
    site = approve_site(world)
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(100000))
    site.vendor.web.put(name, image)
    site.vendor.web.put("latest.suit", env)
    u = site.daemon.wait_update(state="available", sequence=2)
    fetches = site.vendor.web.count(name)
    if restart:
        site.daemon.stop()
    path = image_file(site.daemon, lib.sha256(image))
    if how == "one bit":
        flip(path)
    elif how == "gone":
        os.unlink(path)
    else:
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            f.truncate({"truncated": 50000, "longer": 100001, "empty": 0}[how])
    if restart:
        site.daemon.start()
    node = site.nodes(1)
    site.daemon.post(f"updates/{u['id']}/approve")
    node.wait_sequence(2)
    assert set(node.installed().values()) == {image}
    assert all(n["failures"] == 0 for n in node.status())
    assert site.vendor.web.count(name) > fetches


def test_an_image_damaged_during_a_transfer_never_runs(site):
    """The file is held open and was verified; what is written into it now reaches the node, whose own check refuses it; the
    gateway looks at its copy again, drops it, and the next try is good."""
    nodes = slow_node(site)
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(200000))
    site.vendor.web.put(name, image)
    site.vendor.web.put("latest.suit", env)
    site.daemon.configure({"rollout": {"retry_s": 1}})
    under_way(nodes, 1000)
    flip(image_file(site.daemon, lib.sha256(image)), 199990)
    lib.wait_for(lambda: [j["state"] for j in site.daemon.items("jobs")] in (["failed"], ["confirmed"], ["queued"], ["offered"])
                 and (nodes.status()[0]["failures"] or nodes.status()[0]["sequence"] == 2), "the node has decided", 90, [nodes, site.daemon])
    assert set(nodes.installed().values()) <= {image}
    if nodes.status()[0]["sequence"] != 2:
        site.daemon.wait_log("damaged|corrupt|does not match|not what", 30)


@pytest.mark.parametrize("how", ["one bit", "gone"])
def test_a_damaged_envelope_is_fetched_again(world, how):
    site = approve_site(world)
    site.vendor.publish(2)
    u = site.daemon.wait_update(state="available", sequence=2)
    site.daemon.stop()
    path = image_file(site.daemon, u["envelope"])
    flip(path) if how == "one bit" else os.unlink(path)
    site.daemon.start()
    node = site.nodes(1)
    lib.wait_for(lambda: site.daemon.updates(sequence=2)[0]["state"] == "available", "it is good again", 30)
    site.daemon.post(f"updates/{u['id']}/approve", want=(200, 202, 409))
    node.wait_sequence(2)


def test_a_damaged_envelope_whose_source_is_gone_is_held(world):
    site = approve_site(world)
    site.vendor.publish(2)
    u = site.daemon.wait_update(state="available", sequence=2)
    site.daemon.stop()
    site.vendor.web.down()
    flip(image_file(site.daemon, u["envelope"]))
    site.daemon.start()
    site.daemon.wait_update(state="held", sequence=2, reason=r"envelope")


def database(daemon):
    return next(f for f in glob.glob(os.path.join(daemon.state, "*.db")) + glob.glob(os.path.join(daemon.state, "*.sqlite*"))
                if not f.endswith(("-wal", "-shm")))


@pytest.mark.parametrize("how", ["header", "pages", "empty", "truncated", "garbage"])
def test_a_damaged_database_is_set_aside(site, how):
    """It says so loudly and keeps the old file; what can be had again, the update, comes again by itself."""
    node = site.nodes(1)
    site.vendor.publish(2)
    node.wait_sequence(2)
    lib.wait_for(lambda: [j["state"] for j in site.daemon.items("jobs")] == ["confirmed"], "the job is confirmed")
    site.daemon.stop()
    path = database(site.daemon)
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        if how == "header":
            f.write(b"not a database, not at all")
        elif how == "pages":
            for at in range(4096, size, 4096):
                f.seek(at)
                f.write(os.urandom(512))
        elif how == "empty":
            f.truncate(0)
        elif how == "truncated":
            f.truncate(size // 2)
        else:
            f.write(os.urandom(size))
    site.daemon.start()
    if how != "empty":  # an empty file is a new database to SQLite
        assert "was damaged" in site.daemon.log_text()
        assert glob.glob(path + ".corrupt-*")
    site.vendor.publish(3)
    lib.wait_for(lambda: any(e["endpoint"] == "node" for e in site.daemon.items("endpoints")), "the node registers again",
                 90)  # it asks again after a minute and a tenth
    node.wait_sequence(3)
    site.daemon.restart()
    assert site.daemon.updates(sequence=3)


def test_a_database_of_a_newer_version_is_left_alone(site):
    import sqlite3
    site.daemon.stop()
    c = sqlite3.connect(database(site.daemon))
    c.execute("PRAGMA user_version = 1000")
    c.commit()
    c.close()
    code, log = site.daemon.run_to_end()
    assert code > 0 and site.daemon.state in log and "newer" in log, log
    assert not glob.glob(os.path.join(site.daemon.state, "*corrupt*"))


def test_a_changed_audit_log_is_found_out(site):
    import sqlite3
    site.vendor.publish(2)
    site.daemon.wait_update(state="available", sequence=2)
    assert "the tree is the one that was signed" in site.daemon.audit()
    site.daemon.stop()
    c = sqlite3.connect(database(site.daemon))
    for (name,) in c.execute("select name from sqlite_master where type = 'trigger'").fetchall():
        c.execute(f"drop trigger {name}")
    changed = c.execute("update audit_entry set entry = cast(replace(cast(entry as text), 'verified', 'VERIFIED') as blob) where idx = "
                        "(select min(idx) from audit_entry where instr(cast(entry as text), 'verified') > 0)").rowcount
    assert changed == 1
    c.commit()
    c.close()
    site.daemon.start()
    p = lib.ctl("-s", site.daemon.sock, "audit", "verify", ok=None)
    assert p.returncode != 0 and "the tree is the one that was signed" not in p.stdout, p.stdout


# ---- clocks ----

def test_a_clock_that_was_set_back_accepts_nothing_new(faulty):
    """A clock that is before what was signed and seen is not believed: what is new is held, and it says why."""
    daemon = faulty.daemon.start()
    node = faulty.nodes(1)
    faulty.vendor.publish(2)
    node.wait_sequence(2)
    faulty.fault.clock(-2 * 86400)
    bad = lib.wait_for(lambda: not daemon.get("status")["clock_ok"], "it notices")
    assert bad and any(p["what"] == "clock" for p in daemon.api("health")[1]["problems"])
    daemon.wait_log("clock is before the newest signed time seen", 90)
    faulty.fault.clock(0)
    lib.wait_for(lambda: daemon.get("status")["clock_ok"], "it is plausible again")
    faulty.vendor.publish(3)
    daemon.post("sources/vendor/poll")
    node.wait_sequence(3)


def test_the_newest_signed_time_outlives_a_restart(faulty):
    daemon = faulty.daemon.start()
    faulty.vendor.publish(2)
    daemon.wait_update(state="available", sequence=2)
    daemon.stop()
    faulty.fault.clock(-2 * 86400)
    daemon.start()
    assert not daemon.get("status")["clock_ok"]
    daemon.wait_update(state="held", sequence=2, reason=r"clock|RV-14")
    faulty.fault.clock(0)
    daemon.restart()
    assert daemon.get("status")["clock_ok"]
    daemon.wait_update(state="available", sequence=2)


def test_twenty_years_ago(faulty):
    """A board without a battery: before its own build date. Nothing is accepted, nothing crashes, all is well with the right time."""
    faulty.fault.clock(-20 * YEAR)
    daemon = faulty.daemon.start()
    node = faulty.nodes(1)
    assert not daemon.get("status")["clock_ok"]
    faulty.vendor.publish(2)
    daemon.post("sources/vendor/poll")
    daemon.wait_source(False, r"certificate|not yet valid|SSL")  # the server's certificate is not valid yet
    assert register(daemon, "other") == CREATED
    assert not daemon.items("jobs")
    faulty.fault.clock(0)
    node.wait_sequence(2)
    assert daemon.get("status")["clock_ok"]


def test_in_twenty_years(faulty):
    """Certificates have ended: nothing is accepted. Back in the present the clock is not spoilt by what it saw."""
    faulty.fault.clock(20 * YEAR)
    daemon = faulty.daemon.start()
    node = faulty.nodes(1)
    faulty.vendor.publish(2)
    daemon.post("sources/vendor/poll")
    daemon.wait_source(False, r"certificate|expired|SSL")
    assert not daemon.items("jobs")
    faulty.fault.clock(0)
    node.wait_sequence(2)
    assert daemon.get("status")["clock_ok"]


def test_a_jump_during_a_transfer(faulty):
    """Timers go by the other clock: a node in the middle of it does not notice; registrations do not expire."""
    daemon = faulty.daemon.start()
    node = slow_node(faulty)
    faulty.vendor.publish(2, image=lib.image_bytes(150000))
    under_way(node)
    faulty.fault.clock(200)
    under_way(node, 50000)
    faulty.fault.clock(0)
    under_way(node, 90000)
    faulty.fault.clock(-100)
    node.wait_sequence(2)
    assert daemon.get("status")["clock_ok"]
    assert {e["endpoint"] for e in daemon.items("endpoints")} == {"node"}
    faulty.fault.clock(0)


def test_a_jump_back_during_a_transfer_defers_it(faulty):
    """Far back, nobody knows what is still good: the delivery waits until the clock is right, and then goes on by itself."""
    daemon = faulty.daemon.start()
    node = slow_node(faulty)
    faulty.vendor.publish(2, image=lib.image_bytes(150000))
    under_way(node)
    faulty.fault.clock(-86400)
    daemon.wait_update(state="held", sequence=2, reason=r"RV-14.*clock")
    lib.wait_for(lambda: [j["state"] for j in daemon.items("jobs")] == ["deferred"], "the job waits")
    faulty.fault.clock(0)
    node.wait_sequence(2)
    lib.wait_for(lambda: [j["state"] for j in daemon.items("jobs")] == ["confirmed"], "the job is confirmed")
