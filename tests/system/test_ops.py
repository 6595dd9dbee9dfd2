"""Running it: the configuration checked and read again, signals, the service manager's protocol, installation, neighbours on one
machine without root."""
import json
import os
import re
import signal
import socket
import stat
import subprocess

import pytest

import coapc
import lib


def check(d, ok=0, env=None):
    return lib.run(lib.binary("dormoused"), "-c", d.config_file, "--check", ok=ok, env=env)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    return path


# ---- the configuration ----

def test_what_check_prints_loads_back(site):
    """As a file it comes to the same, and another daemon runs by it."""
    d = site.daemon
    first = check(d).stdout
    assert f'state_dir = "{d.state}"' in first and "max_endpoints = 50000" in first and "[[source]]" in first and "[[anchor]]" in first
    other = site.world.daemon(name="copy", start=False)
    write(other.config_file, first)
    assert check(other).stdout == first
    moved = re.sub(r"(127\.0\.0\.1):\d+", r"\1:0", first.replace(d.dir, other.dir), flags=re.M)
    write(other.config_file, moved.replace("https://127.0.0.1:0", f"https://127.0.0.1:{site.vendor.web.port}"))
    other.start()
    assert other.get("status")["config_file"] == other.config_file
    other.wait_source(False, "404")


@pytest.mark.parametrize("text,wanted", [
    ('[coap]\nlissten = []\n', r":2: coap\.lissten: .*listen"),
    ('state_dri = "/x"\n', r":1: state_dri: .*state_dir"),
    ('[worker]\nthreads = 99\n', r":2: worker\.threads: .*1.*32"),
    ('[worker]\nthreads = "two"\n', r":2: worker\.threads: "),
    ('[log]\nlevel = "loud"\n', r":2: log\.level: .*debug"),
    ('[http]\nlisten = ["0.0.0.0:8080"]\n', r":2: http\.listen: .*(cert_file|token_file|TLS)"),
    ('[http]\nlisten = ["127.0.0.1:99999"]\n', r":2: http\.listen: "),
    ('[coap]\nlisten = ["http://x"]\n', r":2: coap\.listen: "),
    ('[[source]]\nname = "a"\nkind = "carrier-pigeon"\n', r":3: source.*\.kind: .*https.*folder"),
    ('[[source]]\nname = "a"\nkind = "https"\n', r":3: source.*url"),
    ('[[source]]\nname = "a"\nkind = "folder"\npath = "/tmp"\n[[source]]\nname = "a"\nkind = "folder"\npath = "/tmp"\n', r":6: source.*name"),
    ('[[anchor]]\nname = "a"\nfile = "/x"\nvendor_ids = ["not-a-uuid"]\n', r":4: anchor.*vendor_ids"),
    ('[directory]\nauto_enrol = true\n[coap]\nlisten = ["coap://[::]:5683"]\n', r":\d+: .*auto_enrol|:\d+: directory"),
    ('[directory\n', r":1"),
    ('a = 1\na = 2\n', r":2"),
    ('x = "\xff"\n', r":1"),
])
def test_mistakes_are_found_where_they_are(world, text, wanted):
    """File, line, key, and what would be right; exit 78, with --check and without."""
    path = os.path.join(world.dir, "bad.toml")
    with open(path, "wb") as f:
        f.write(text.encode("latin-1"))
    for extra in (["--check"], []):
        p = lib.run(lib.binary("dormoused"), "-c", path, *extra, ok=78)
        assert re.search(re.escape(path) + wanted, p.stderr), p.stderr
        assert not p.stdout


def test_all_mistakes_are_told_at_once(world):
    path = write(os.path.join(world.dir, "bad.toml"), '[coap]\nx = 1\nmax_sessions = "many"\n[cache]\nquota_bytes = "12 parsecs"\n[nothing]\ny = 2\n')
    p = lib.run(lib.binary("dormoused"), "-c", path, "--check", ok=78)
    assert len(p.stderr.splitlines()) >= 4 and all(line.startswith(path + ":") for line in p.stderr.splitlines())


def test_command_lines(world):
    run = lambda *a, ok: lib.run(lib.binary("dormoused"), *a, ok=ok)
    assert "--check" in run("--help", ok=0).stdout
    version = run("--version", ok=0).stdout
    for word in ("dormoused 0.1.0", "libcoap 4.3", "libevent 2.", "OpenSSL 3", "curl 7", "SQLite 3", "features:", "coaps-psk", "absent:"):
        assert word in version, version
    for bad in (["--frobnicate"], ["-c"], ["extra"]):
        assert "usage" in run(*bad, ok=2).stderr
    assert "nowhere.toml" in run("-c", world.dir + "/nowhere.toml", ok=78).stderr


def test_drop_ins_lay_over_the_file(world):
    """Later names win, tables add up, relative paths start at the file that has them, the daemon says the same."""
    d = world.daemon({"directory": {"max_endpoints": 10}}, start=False)
    drop = os.path.join(d.dir, "dormouse.d")
    write(os.path.join(drop, "10-a.toml"), '[directory]\nmax_endpoints = 20\nmax_links = 7\n[[source]]\nname = "usb"\nkind = "folder"\npath = "usb"\n')
    write(os.path.join(drop, "20-b.toml"), "[directory]\nmax_endpoints = 30\n")
    write(os.path.join(drop, "30-c.conf"), "not toml at all\n")
    os.mkdir(os.path.join(drop, "usb"))
    text = check(d).stdout
    assert "max_endpoints = 30" in text and "max_links = 7" in text and f'path = "{drop}/usb"' in text
    d.start()
    assert [s["name"] for s in d.items("sources")] == ["usb"]
    write(os.path.join(drop, "40-d.toml"), "[directory]\nmax_endpoint = 1\n")
    p = check(d, ok=78)
    assert "40-d.toml:2: directory.max_endpoint" in p.stderr
    assert d.api("reload", "POST")[0] == 422


def test_paths_by_the_service_manager(world):
    """${STATE_DIRECTORY} and ${CREDENTIALS_DIRECTORY}; secrets that others may read are refused."""
    state, creds = os.path.join(world.dir, "st"), os.path.join(world.dir, "creds")
    token = write(os.path.join(creds, "token"), "a-token-of-some-length-1\n")
    os.chmod(token, 0o600)
    d = world.daemon({"http": {"token_file": "${CREDENTIALS_DIRECTORY}/token"}}, start=False, env={"STATE_DIRECTORY": state, "CREDENTIALS_DIRECTORY": creds})
    d.configure({"state_dir": "${STATE_DIRECTORY}"})
    d.start()
    assert d.get("status")["state_dir"] == state and os.path.exists(os.path.join(state, "dormouse.db"))
    assert lib.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer wrong", f"http://{d.http}/api/v1/status").stdout == "401"
    assert stat.S_IMODE(os.stat(os.path.join(state, "dormouse.db")).st_mode) == 0o600
    env = dict(os.environ, STATE_DIRECTORY=state, CREDENTIALS_DIRECTORY=creds)
    os.chmod(token, 0o440)                                  # how systemd shows them, with an access list
    check(d, env=env)
    d.configure({"http": {"token_file": write(os.path.join(world.dir, "token"), "a-token-of-some-length-1\n")}})
    p = check(d, ok=78, env=env)
    assert "http.token_file" in p.stderr and ("600" in p.stderr or "read" in p.stderr)


# ---- reload ----

def test_sighup_reads_the_file_again(site):
    """What can change does, and says so; what cannot is named; registrations and jobs stay."""
    d = site.daemon
    coapc.request(f"{d.coap}/rd?ep=stays", "post", "</x>", ct=40)
    d.wait_log("source vendor answers|the server answers 404")
    d.configure({"directory": {"max_endpoints": 1}, "worker": {"threads": 3}, "log": {"level": "warning"}, "source": []})
    mark = len(d.log_text())
    d.proc.send_signal(signal.SIGHUP)
    lib.wait_for(lambda: d.items("sources") == [], "the source is gone", 10, [d])
    assert coapc.request(f"{d.coap}/rd?ep=second", "post", "</x>", ct=40).code == "5.03"
    assert [e["endpoint"] for e in d.items("endpoints")] == ["stays"]
    assert "endpoint" not in d.log_text()[mark:].replace("max_endpoints", "")       # the level is warning now
    recent = [e["data"]["text"] for e in d.items("events/recent") if e["data"]["event"] == "config-reloaded"]
    assert "worker.threads: 2 -> 3 (needs a restart)" in recent[-1] and "directory.max_endpoints: 50000 -> 1" in recent[-1]
    d.configure({"log": {"level": "debug"}})
    d.proc.send_signal(signal.SIGHUP)
    d.wait_log("configuration read again", since=mark)     # notices are written again


def test_a_bad_file_changes_nothing(site):
    d = site.daemon
    before = d.items("sources")[0]["name"]
    good = open(d.config_file).read()
    for bad in (good + "\n[nonsense]\nx = 1\n", "", good.replace("max_per_credential", "max_per"), good.replace(site.pki.root_file, "/nowhere.pem")):
        if not bad:
            continue
        write(d.config_file, bad)
        mark = len(d.log_text())
        d.proc.send_signal(signal.SIGHUP)
        d.wait_log("refused, the running one stays", since=mark)
        assert d.items("sources")[0]["name"] == before and d.get("status")
    write(d.config_file, good)
    assert "changes" in d.post("reload")
    os.unlink(d.config_file)
    status, problem = d.api("reload", "POST")
    assert status == 422 and "dormouse.toml" in problem["detail"]
    write(d.config_file, good)
    site.vendor.publish(2)
    d.wait_update(state="available", sequence=2)


def test_a_hundred_reloads_cost_nothing(site):
    d = site.daemon
    for _ in range(10):
        d.post("reload")
    memory, files = d.memory(), d.open_files()
    for i in range(100):
        d.configure({"directory": {"max_endpoints": 1000 + i}})
        d.post("reload")
    assert d.open_files() <= files + 2
    if not lib.is_sanitized():
        assert d.memory() - memory < 6 << 20
    assert d.get("status")


# ---- stop ----

def test_sigterm_is_clean_and_loses_nothing(site):
    """Registrations acknowledged a moment before, jobs, approvals, the audit log: all there after."""
    d = site.daemon
    site.nodes(3, sleep=3600)
    site.vendor.publish(2)
    lib.wait_for(lambda: len(d.items("jobs?state=open")) == 3, "jobs", 20, [d])
    for i in range(200):
        assert lib.udp(d.coap_port, lib.coap_message(2, "rd", b"</x>", mid=i, options=[(15, b"ep=last%d" % i), (12, b"\x28")]))[1] == 0x41
    before = {e["endpoint"]: e["location"] for e in d.items("endpoints")}
    jobs = {j["id"]: (j["device"], j["attempts"]) for j in d.items("jobs")}
    audit = d.get("status")["audit_entries"]
    d.stop(want=0)
    assert not os.path.exists(d.sock) or not can_connect(d.sock)
    lib.ctl("audit", "verify", "--state", d.state)
    d.start()
    assert {e["endpoint"]: e["location"] for e in d.items("endpoints")} == before and len(before) == 203
    assert {j["id"]: (j["device"], j["attempts"]) for j in d.items("jobs")} == jobs
    assert d.get("status")["audit_entries"] >= audit
    d.proc.send_signal(signal.SIGINT)
    assert d.proc.wait(20 * lib.SLOW) == 0


def can_connect(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
            return True
        except OSError:
            return False


def test_sigterm_in_the_middle_of_everything(site):
    """Clients that are connected, transfers under way: still a clean end, again and again."""
    d = site.daemon
    site.nodes(4)
    for n in range(3):
        since = len(d.log_text())
        site.vendor.publish(2 + n, image=lib.image_bytes(2000000, n))
        follower = subprocess.Popen(["curl", "-sN", "--unix-socket", d.sock, "http://localhost/api/v1/events"], stdout=subprocess.DEVNULL)
        d.wait_log("-> transferring", since=since)
        d.stop(want=0)
        follower.wait(10)
        d.start()
    lib.wait_for(lambda: all(x["components"] and x["components"][0]["sequence"] == 4 for x in d.items("devices")), "all run the last one", 60, [d])


# ---- the service manager ----

class Manager:
    """The receiving side of sd_notify(3)."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.messages = []

    def next(self, key, seconds=20):
        """The value of the next assignment of key; what came before stays in messages."""
        while True:
            self.sock.settimeout(seconds * lib.SLOW)
            message = self.sock.recv(4096).decode()
            self.messages.append(message)
            fields = dict(line.partition("=")[::2] for line in message.splitlines())
            if key in fields:
                return fields[key], fields

    def stop(self):
        self.sock.close()


def test_the_service_managers_protocol(world):
    """READY after everything listens, STATUS, WATCHDOG at half its time, RELOADING with its clock and READY again, STOPPING."""
    m = world.add(Manager(world.dir))
    d = world.daemon(env={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "400000"}, start=False)
    d.spawn()
    m.next("READY")
    assert d.api("status")[0] == 200                       # it is true at once
    d.status_at_start = d.get("status")
    assert m.next("WATCHDOG")[0] == "1"
    for _ in range(5):
        m.next("WATCHDOG", 1)
    status = " ".join(m.messages)
    assert re.search(r"STATUS=\d+ endpoints, \d+ updates, \d+ jobs", status), status
    d.proc.send_signal(signal.SIGHUP)
    _, fields = m.next("RELOADING")
    assert int(fields["MONOTONIC_USEC"]) > 0
    m.next("READY")
    with open(d.config_file, "a") as f:
        f.write("[nonsense]\n")
    d.proc.send_signal(signal.SIGHUP)
    m.next("RELOADING")
    m.next("READY")                                        # also when the file was refused
    d.proc.send_signal(signal.SIGSTOP)                     # a loop that does not turn feeds no watchdog
    m.sock.settimeout(0.3)
    with pytest.raises(socket.timeout):
        for _ in range(5):                                 # what was under way already
            m.sock.recv(4096)
    d.proc.send_signal(signal.SIGCONT)
    m.next("WATCHDOG")
    d.proc.send_signal(signal.SIGTERM)
    m.next("STOPPING")
    assert d.proc.wait(20 * lib.SLOW) == 0


def test_a_refused_start_is_never_ready(world):
    m = world.add(Manager(world.dir))
    d = world.daemon(start=False, env={"NOTIFY_SOCKET": m.path})
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    d.configure({"http": {"listen": [f"127.0.0.1:{taken.getsockname()[1]}"]}})
    code, log = d.run_to_end()
    assert code == 1 and "http.listen" in log and "in use" in log
    busy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    busy.bind(("127.0.0.1", 0))
    d.configure({"http": {"listen": [f"unix:{d.sock}"]}, "coap": {"listen": [f"coap://127.0.0.1:{busy.getsockname()[1]}"]}})
    code, log = d.run_to_end()
    assert code == 1 and "coap.listen" in log
    m.sock.settimeout(0.2)
    with pytest.raises(socket.timeout):
        while True:
            assert b"READY" not in m.sock.recv(4096)


# ---- beside each other ----

def test_two_daemons_without_root(world, make_site):
    """Everything settable in the file: two gateways on one machine, as nobody, that know nothing of each other."""
    unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    ds = []
    for name in ("east", "west"):
        d = world.daemon(name=name, start=False, wrapper=unprivileged)
        if unprivileged:
            os.chown(d.dir, 65534, 65534)
        ds.append(d.start())
    east, west = ds
    if unprivileged:
        assert os.stat(f"/proc/{east.pid}").st_uid == 65534
    assert coapc.request(f"{east.coap}/rd?ep=e", "post", "</x>", ct=40).code == "2.01"
    assert coapc.request(f"{west.coap}/rd?ep=w", "post", "</x>", ct=40).code == "2.01"
    assert [[e["endpoint"] for e in d.items("endpoints")] for d in ds] == [["e"], ["w"]]
    assert east.get("audit/key") != west.get("audit/key")
    # one state directory has one owner
    thief = world.daemon(name="thief", start=False)
    thief.configure({"state_dir": east.state})
    code, log = thief.run_to_end()
    assert code == 1 and east.state in log, log
    assert east.get("status")


def test_permissions_of_what_it_makes(daemon):
    mode = lambda *p: stat.S_IMODE(os.stat(os.path.join(*p)).st_mode)
    assert mode(daemon.sock) == 0o660 and mode(daemon.state) == 0o700
    assert mode(daemon.state, "dormouse.db") == 0o600 and mode(daemon.state, "audit.key") == 0o600
    assert mode(daemon.state, "audit.pub") in (0o644, 0o600)


# ---- installation ----

def test_meson_install_brings_everything(world):
    """Into a DESTDIR: programs, unit, users, catalog, pages, configuration, completion; the installed program runs, and a
    changed configuration is kept by the next installation."""
    dest = os.path.join(world.dir, "dest")
    options = {o["name"]: o["value"] for o in json.loads(lib.run("meson", "introspect", "--buildoptions", lib.BUILD).stdout)}
    prefix = options["prefix"]
    etc = os.path.join(prefix, options["sysconfdir"])
    wanted = [f"{prefix}/bin/{x}" for x in ("dormoused", "dormousectl", "dormouse-node")] + \
        [f"{prefix}/lib/{x}" for x in ("systemd/system/dormouse.service", "sysusers.d/dormouse.conf", "tmpfiles.d/dormouse.conf", "systemd/catalog/dormouse.catalog")] + \
        [f"{prefix}/{options['mandir']}/man{s}/{n}.{s}" for n, s in (("dormoused", 8), ("dormousectl", 1), ("dormouse-node", 1), ("dormouse.toml", 5), ("dormouse-coap", 7), ("dormouse-rest", 7), ("dormouse-multicast", 7))] + \
        [f"{etc}/dormouse/dormouse.toml", f"{prefix}/share/bash-completion/completions/dormousectl.bash",
         f"{prefix}/share/dbus-1/system.d/dormouse.conf", f"{prefix}/share/doc/dormouse/examples/radio.conf"]
    install = lambda: lib.run("meson", "install", "-C", lib.BUILD, "--no-rebuild", "--destdir", dest)
    install()
    for path in wanted:
        assert os.path.getsize(dest + path) > 50, path
    have = {os.path.join(f, n)[len(dest):] for f, _, names in os.walk(dest) for n in names}
    assert have == set(wanted), have ^ set(wanted)
    unit = open(f"{dest}{prefix}/lib/systemd/system/dormouse.service").read()
    start = re.search(r"^ExecStart=(\S+) -c (\S+)$", unit, re.M)
    assert os.access(dest + start[1], os.X_OK) and os.path.exists(dest + start[2])
    assert "dormoused 0.1.0" in lib.run(dest + start[1], "--version").stdout
    assert f"(default {start[2]})" in lib.run(dest + start[1], "--help").stdout
    lib.run(dest + start[1], "-c", dest + start[2], "--check")
    conf = f"{dest}{etc}/dormouse/dormouse.toml"
    with open(conf, "a") as f:
        f.write("# mine\n")
    install()
    assert open(conf).read().endswith("# mine\n") and os.path.exists(conf + ".new")


def test_the_sample_is_the_default(world):
    """conf/dormouse.toml as it is, and an empty file, come to the same."""
    empty = write(os.path.join(world.dir, "empty.toml"), "")
    sample = os.path.join(lib.TOP, "conf", "dormouse.toml")
    assert lib.run(lib.binary("dormoused"), "-c", empty, "--check").stdout == lib.run(lib.binary("dormoused"), "-c", sample, "--check").stdout
