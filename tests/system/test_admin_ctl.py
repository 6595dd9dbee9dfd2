"""dormousectl, every verb against the real daemon: tables for people, --json for programs, errors that say what to do, exit
statuses, proofs that hold offline and break when somebody touches the log."""
import json
import os
import re
import shutil
import sqlite3

import pytest

import coapc
import lib

KEY = "00112233445566778899aabbccddeeff"


def ctl(d, *args, ok=0):
    return lib.ctl("-s", d.sock, *args, ok=ok)


def js(d, *args, ok=0):
    return json.loads(ctl(d, "--json", *args, ok=ok).stdout)


def secret(world, name, text=KEY):
    path = os.path.join(world.dir, name)
    with open(path, "w") as f:
        f.write(text + "\n")
    os.chmod(path, 0o600)
    return path


def rows(text):
    """A table as a list of dicts; cells are two blanks apart."""
    head, *lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]
    return [dict(zip(head, line)) for line in lines]


@pytest.fixture
def busy(make_site):
    """Two devices, one update that waits for approval."""
    s = make_site(source={"policy": "approve"})
    s.nodes(2, sleep=3600)
    s.vendor.publish(2)
    s.update = s.daemon.wait_update(state="available", sequence=2)
    return s


def test_status_and_health(busy):
    d = busy.daemon
    out = ctl(d, "status").stdout
    assert "0.1.0" in out and d.state in out and "coaps://" in out and "\x1b" not in out
    assert js(d, "status")["devices"] == 2
    ctl(d, "health")
    assert js(d, "health")["ok"] is True
    busy.vendor.web.down()
    d.wait_source(False)
    p = ctl(d, "health", ok=1)
    assert "vendor" in p.stdout + p.stderr
    assert js(d, "health", ok=1)["problems"][0]["what"] == "vendor"
    busy.vendor.web.up()
    lib.wait_for(lambda: ctl(d, "health", ok=None).returncode == 0, "well again", 20, [d])


def test_tables_and_lists_agree(busy):
    d, u = busy.daemon, busy.update
    assert {r["DEVICE"] for r in rows(ctl(d, "devices").stdout)} == {"node-000", "node-001"}
    assert {x["id"] for x in js(d, "devices")["items"]} == {"node-000", "node-001"}
    assert rows(ctl(d, "devices", "list", "--state", "enrolled").stdout)[0]["STATE"] == "enrolled"
    assert js(d, "devices", "list", "--state", "retired")["items"] == []
    assert {r["ENDPOINT"] for r in rows(ctl(d, "endpoints").stdout)} == {"node-000", "node-001"}
    one = d.items("endpoints")[0]
    assert js(d, "endpoints", "show", one["location"])["endpoint"] == one["endpoint"]
    assert one["endpoint"] in ctl(d, "endpoints", "show", one["location"]).stdout
    table = rows(ctl(d, "updates").stdout)
    assert u["id"].startswith(table[0]["UPDATE"]) and table[0]["STATE"] == "available"
    assert js(d, "updates", "show", u["id"][:8])["id"] == u["id"]
    shown = ctl(d, "updates", "show", u["id"][:6]).stdout
    assert "accepted" in shown and "SU-" in shown and "RV-3" in shown
    assert js(d, "updates", "verdict", u["id"])["outcome"] == "accepted"
    assert [r["JOBS"] for r in rows(ctl(d, "rollouts").stdout)] or js(d, "rollouts")["items"] == []
    image = rows(ctl(d, "images").stdout)
    assert len(image) == 2 or len(image) == 1            # the image, and the envelope
    assert u["images"][0]["digest"] in {i["digest"] for i in js(d, "images")["items"]}
    assert rows(ctl(d, "sources").stdout)[0].get("SOURCE", rows(ctl(d, "sources").stdout)[0].get("NAME")) == "vendor"
    ctl(d, "endpoints", "remove", one["location"])
    assert one["endpoint"] not in ctl(d, "endpoints").stdout
    assert "no registration" in ctl(d, "endpoints", "remove", one["location"], ok=1).stderr
    ctl(d, "revocation", "refresh")
    ctl(d, "sources", "poll", "vendor")
    assert "no source" in ctl(d, "sources", "poll", "nobody", ok=1).stderr
    assert any(e["entry"]["subject"] == u["id"] for e in js(d, "audit")["items"])
    assert all(e["entry"]["subject"] == u["id"] for e in js(d, "audit", "list", "--subject", u["id"][:10])["items"])
    assert "job-state" in ctl(d, "events", "-n", "100").stdout or "update-state" in ctl(d, "events", "-n", "100").stdout
    only = ctl(d, "events", "-n", "100", "--kind", "device-enrolled").stdout
    assert only and all("device-enrolled" in line for line in only.splitlines())
    assert json.loads(ctl(d, "--json", "events", "-n", "1").stdout)["event"]


def test_devices_are_enrolled_and_given_keys(world):
    d = world.daemon({"directory": {"open": False, "auto_enrol": False}})
    ctl(d, "devices", "add", "sensor-7", "--vendor", lib.VENDOR, "--class", lib.MODEL, "--hw", "B", "--wake", "polls,600", "--proof", "mac",
        "--identity", "s7", "--name", "the one in the cellar")
    have = js(d, "devices", "show", "sensor-7")
    assert have["vendor_id"] == str(lib.vendor_uuid()) and have["class_id"] == str(lib.class_uuid())
    assert (have["hw_revision"], have["proof"], have["identity"], have["wake"]["period_s"]) == ("B", "mac", "s7", 600)
    ctl(d, "devices", "add", "sensor-7", "--name", "another name")
    assert js(d, "devices", "show", "sensor-7")["identity"] == "s7"           # what was not said stays
    key = secret(world, "key")
    ctl(d, "devices", "credential", "s7", "--psk-file", key, "--device", "sensor-7")
    ctl(d, "devices", "credential", "sensor-7", "--mac-key-file", key, "--device", "sensor-7")
    listed = d.items("credentials")
    assert {(c["identity"], c["kind"], c["device"]) for c in listed} == {("s7", "psk", "sensor-7"), ("sensor-7", "mac", "sensor-7")}
    assert KEY not in json.dumps(listed) + d.log_text() + ctl(d, "audit").stdout
    assert [r["ROLES"] for r in rows(ctl(d, "credentials").stdout)] == ["device", "device"]
    ctl(d, "credentials", "remove", "s7")
    assert "no such credential" in ctl(d, "credentials", "remove", "s7", ok=1).stderr
    assert [c["kind"] for c in js(d, "credentials")["items"]] == ["mac"]
    for verb, state in (("quarantine", "quarantined"), ("enrol", "enrolled"), ("retire", "retired")):
        ctl(d, "devices", verb, "sensor-7")
        assert js(d, "devices", "show", "sensor-7")["state"] == state
    ctl(d, "devices", "remove", "sensor-7")
    assert d.items("devices") == [] and [c for c in d.items("credentials") if c["device"]] == []
    # what is wrong is told, with a way out
    for args, status, why in ((("add", "x y"), 1, "A-Z"), (("add", "a", "--vendor", lib.VENDOR, "--wake", "sometimes"), 1, "always"),
                              (("add", "a", "--class", "c"), 1, "--vendor"), (("show", "nobody"), 1, "no device"),
                              (("credential", "a"), 1, "--psk-file"), (("credential", "a", "--psk-file", "/nowhere"), 1, "/nowhere"),
                              (("credential", "a", "--psk-file", secret(world, "short", "0011")), 1, "hex"),
                              (("credential", "a", "--psk-file", key, "--device", "nobody"), 1, "enrol"),
                              (("credential", "a", "--psk-file", key, "--role", "king"), 1, "admin"),
                              (("frobnicate", "a"), 2, "usage"), (("show",), 2, "usage")):
        p = ctl(d, "devices", *args, ok=status)
        assert why in p.stderr, (args, p.stderr)


def test_approval_why_not_and_jobs(busy):
    """The way of an update with policy approve; each answer of why-not on it; retry and cancel."""
    d, u = busy.daemon, busy.update
    assert d.items("jobs") == []
    text = ctl(d, "why-not", "node-000", u["id"][:8]).stdout
    assert "approve" in text
    assert [b["rule"] for b in js(d, "why-not", "node-000", u["id"])["blocks"]] and not js(d, "why-not", "node-000", u["id"])["allowed"]
    assert "approved" in ctl(d, "approve", u["id"][:8]).stdout
    p = ctl(d, "approve", u["id"][:8], ok=1)
    assert "approved already" in p.stderr
    lib.wait_for(lambda: len(d.items("jobs")) == 2, "jobs", 20, [d])
    assert d.updates()[0]["approved_by"] == f"unix:{os.getuid()}"
    job = d.items("jobs?device=node-001")[0]
    text = ctl(d, "why-not", "node-001", u["id"]).stdout
    assert job["id"] in text and job["state"] in text
    table = rows(ctl(d, "jobs", "--device", "node-001").stdout)
    assert len(table) == 1 and job["id"].startswith(table[0]["JOB"])
    assert len(js(d, "jobs", "--state", "open")["items"]) == 2 and len(js(d, "jobs", "--update", u["id"][:8])["items"]) == 2
    assert "cannot be tried again" in ctl(d, "jobs", "retry", job["id"], ok=1).stderr
    ctl(d, "jobs", "cancel", job["id"][:8])
    lib.wait_for(lambda: js(d, "jobs", "show", job["id"])["state"] == "cancelled", "cancelled", 10, [d])
    ctl(d, "jobs", "cancel", job["id"])               # may be said twice
    ctl(d, "jobs", "retry", job["id"])
    lib.wait_for(lambda: js(d, "jobs", "show", job["id"])["state"] in ("queued", "offered"), "open again", 10, [d])
    ctl(d, "devices", "quarantine", "node-001")
    assert "quarantine" in ctl(d, "why-not", "node-001", u["id"]).stdout
    d.api("devices/stranger", "PUT", {"vendor_id": str(lib.vendor_uuid("other.example")), "class_id": str(lib.class_uuid())})
    assert "vendor" in ctl(d, "why-not", "stranger", u["id"]).stdout
    assert 'no device "nobody"' in ctl(d, "why-not", "nobody", u["id"], ok=1).stderr
    assert "6 digits" in ctl(d, "why-not", "node-000", "ffffffff", ok=1).stderr
    assert "--reason" in ctl(d, "recall", u["id"], ok=1).stderr
    ctl(d, "recall", u["id"][:8], "--reason", "it smells")
    lib.wait_for(lambda: not d.items("jobs?state=open"), "jobs stopped", 10, [d])
    assert d.updates()[0]["state"] == "recalled" and "it smells" in d.updates()[0]["reason"]
    assert "recalled" in ctl(d, "approve", u["id"], ok=1).stderr
    assert "recalled" in ctl(d, "why-not", "node-000", u["id"]).stdout


def test_proofs_hold_offline_and_break_when_touched(busy, world):
    d, u = busy.daemon, busy.update
    ctl(d, "approve", u["id"])
    job = lib.wait_for(lambda: d.items("jobs"), "jobs", 20, [d])[0]["id"]
    lib.wait_for(lambda: d.get(f"audit?subject={job}")["items"], "its first entry on the disk", 20, [d])
    proof, head, key = (os.path.join(world.dir, x) for x in ("proof.json", "head", "key"))
    ctl(d, "audit", "prove", job[:8], "-o", proof)
    ctl(d, "audit", "checkpoint", "-o", head)
    ctl(d, "audit", "key", "-o", key)
    with open(os.path.join(d.state, "audit.pub")) as f:
        assert f.read().strip() == open(key).read().strip()
    assert "nothing is logged" in ctl(d, "audit", "prove", "0" * 32, ok=1).stderr
    assert "entries" in ctl(d, "audit", "verify").stdout
    d.stop()
    pub = os.path.join(d.state, "audit.pub")
    out = lib.ctl("audit", "verify", proof, head, "--key", pub).stdout
    assert "proven" in out and job in out and "signed head" in out
    assert "--key" in lib.ctl("audit", "verify", proof, ok=1).stderr
    lib.ctl("audit", "verify", "--state", d.state)
    # a touched proof
    with open(proof) as f:
        text = f.read()
    doctored = os.path.join(world.dir, "doctored.json")
    p = json.loads(text)["proofs"][0]["proof"]
    lines = p.split("\n")
    middle = next(i for i, line in enumerate(lines) if len(line) == 44)
    lines[middle] = lines[middle][:5] + ("A" if lines[middle][5] != "A" else "B") + lines[middle][6:]
    with open(doctored, "w") as f:
        json.dump({"proofs": [{"proof": "\n".join(lines)}]}, f)
    assert "REFUSED" in lib.ctl("audit", "verify", doctored, "--key", pub, ok=3).stdout
    # another gateway's key
    other = world.daemon(name="other")
    assert "REFUSED" in lib.ctl("audit", "verify", proof, "--key", os.path.join(other.state, "audit.pub"), ok=3).stdout
    # a touched, a shortened and an extended log
    for n, change in enumerate(("UPDATE audit_entry SET entry = replace(entry, 'update', 'upDate') WHERE idx = 1",
                                "DELETE FROM audit_entry WHERE idx = (SELECT max(idx) FROM audit_entry)",
                                "UPDATE audit_entry SET subject = 'x', entry = '{}' WHERE idx = 2")):
        copy = os.path.join(world.dir, f"copy{n}")
        shutil.copytree(d.state, copy)
        with sqlite3.connect(os.path.join(copy, "dormouse.db")) as db:
            for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                db.execute(f"DROP TRIGGER {trigger}")     # who can write to the file can do that too
            db.execute(change)
        db.close()
        p = lib.ctl("audit", "verify", "--state", copy, ok=None)
        assert p.returncode in (1, 3) and (p.returncode == 3 or p.stderr), (change, p)
        assert "the tree is the one that was signed" not in p.stdout
    lib.ctl("audit", "verify", "--state", d.state)


def test_config_reload(busy):
    d = busy.daemon
    d.configure({"directory": {"max_endpoints": 1234}})
    assert "1234" in ctl(d, "config", "reload").stdout
    d.configure({"directory": {"max_endpoints": 0}})
    p = ctl(d, "config", "reload", ok=1)
    assert "directory.max_endpoints" in p.stderr and "refused" in p.stderr
    assert d.get("status")


def test_errors_of_the_way_there(world, daemon):
    for args, status, why in ((("-s", world.dir + "/no.sock", "status"), 1, "is dormoused running"), (("-s", "http://127.0.0.1:1", "status"), 1, "reach"),
                              (("frobnicate",), 2, "--help"), (("--timeout", "x", "status"), 2, "--timeout"), ((), 2, "usage"),
                              (("-s", daemon.sock, "recall"), 2, "usage"), (("-s", daemon.sock, "approve"), 2, "usage"),
                              (("-s", daemon.sock, "updates", "show", "zz"), 1, "6 digits"),
                              (("-s", daemon.sock, "jobs", "show", "abcdef"), 1, "no job"),
                              (("-s", daemon.sock, "rollouts", "show", "abcdef"), 1, "no rollout"),
                              (("-s", daemon.sock, "endpoints", "show", "abcdef"), 1, "no registration"),
                              (("-s", daemon.sock, "why-not", "node-1", "abcdef"), 1, "6 digits"),
                              (("-s", daemon.sock, "devices", "--state", "lost"), 1, "quarantined"),
                              (("-s", daemon.sock, "updates", "--state", "lost"), 1, "superseded"),
                              (("-s", daemon.sock, "jobs", "--state", "lost"), 1, "open"),
                              (("--no-such-option",), 2, "usage")):
        p = lib.ctl(*args, ok=status)
        assert why in p.stderr, (args, p.stderr)
    assert "dormousectl" in lib.ctl("--version").stdout and "why-not" in lib.ctl("--help").stdout
    env = dict(os.environ, DORMOUSE_API=daemon.sock)
    assert "0.1.0" in lib.run(lib.binary("dormousectl"), "status", env=env).stdout
    assert "\x1b[" in lib.run(lib.binary("dormousectl"), "--color", "always", "-s", daemon.sock, "devices").stdout


def test_events_are_followed(world, daemon):
    daemon.api("devices/before", "PUT", {})
    f = world.add(coapc.Lines(lib.binary("dormousectl"), "-s", daemon.sock, "events", "-f", "-n", "1"))
    f.wait(lambda x: "device before enrolled" in x, "the last event")
    daemon.api("devices/after", "PUT", {})
    assert "device-enrolled" in f.wait(lambda x: "device after enrolled" in x, "the next event")


def test_verify_exits_with_what_it_found(world, site):
    """0 accepted, 3 rejected, 4 not decodable, 5 could not decide; 1 and 2 for the question."""
    envelope, _, _ = site.vendor.envelope(9)
    file, crl, anchors = (os.path.join(world.dir, x) for x in ("e.suit", "root.crl", "anchors"))
    os.mkdir(anchors)
    shutil.copy(site.pki.root_file, os.path.join(anchors, "vendor.pem"))
    with open(file, "wb") as f:
        f.write(envelope)
    with open(crl, "wb") as f:
        f.write(site.pki.crl())
    p = lib.ctl("verify", file, "--anchors", anchors, "--crl", crl)
    assert "accepted" in p.stdout
    verdict = json.loads(lib.ctl("verify", file, "--anchors", anchors, "--crl", crl, "--json").stdout)
    assert verdict["outcome"] == "accepted" and {r["id"] for r in verdict["rules"]} >= {"SU-4", "RV-3"}
    p = lib.ctl("verify", file, "--anchors", anchors, ok=5)
    assert "--crl" in p.stdout or "--ocsp" in p.stdout
    with open(crl, "wb") as f:
        f.write(site.pki.crl(revoked=[site.pki.signer]))
    assert "revoked" in lib.ctl("verify", file, "--anchors", anchors, "--crl", crl, ok=3).stdout
    lib.ctl("verify", file, ok=3)
    lib.ctl("verify", file, "--anchors", anchors, "--no-revocation")
    lib.ctl("verify", file, "--anchors", anchors, "--no-revocation", "--at", "2100-01-01T00:00:00Z", ok=3)
    facts = os.path.join(world.dir, "facts.json")
    for sequence, status in ((8, 0), (9, 0), (10, 3)):
        with open(facts, "w") as f:
            json.dump({"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid()), "sequence": sequence}, f)
        lib.ctl("verify", file, "--anchors", anchors, "--no-revocation", "--device", facts, ok=status)
    with open(file, "wb") as f:
        f.write(envelope[:len(envelope) // 2])
    lib.ctl("verify", file, "--anchors", anchors, ok=4)
    lib.ctl("verify", "/nowhere", "--anchors", anchors, ok=1)
    lib.ctl("verify", file, "--at", "soon", ok=2)


def test_completion_completes():
    """The script, in bash, as somebody types."""
    script = lib.ctl("completion", "bash").stdout
    ask = 'COMP_WORDS=({0}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); compopt() {{ :; }}; _dormousectl; printf "%s\\n" "${{COMPREPLY[@]}}"'

    def complete(line):
        return lib.run("bash", "-c", script + "\n" + ask.format(line)).stdout.split()

    assert set(complete("dormousectl dev")) == {"devices"}
    assert {"add", "credential", "enrol"} <= set(complete('dormousectl -s /x devices ""'))
    assert set(complete("dormousectl devices cred")) == {"credential"}
    assert "--reason" in complete("dormousectl recall abc --")
    assert {"status", "verify", "author"} <= set(complete('dormousectl ""'))
    lib.run("bash", "-n", "-c", script)
