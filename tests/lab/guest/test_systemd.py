"""The unit under a real systemd: installed as `meson install` does it, started, watched, reloaded, confined, stopped.

The tests share one machine and go in order: each leaves the service running."""
import json
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess

import pytest

import conftest
import lib

UNIT = "dormouse.service"
SOCK = "/run/dormouse/api.sock"
STATE = pathlib.Path("/var/lib/dormouse")
CONFIG = pathlib.Path("/etc/dormouse")
DROPIN = pathlib.Path(f"/run/systemd/system/{UNIT}.d")


def systemctl(*args, ok=0):
    return lib.run("systemctl", *args, ok=ok).stdout.strip()


def show(*names):
    """Properties of the unit: one value, or a list of several."""
    text = systemctl("show", UNIT, *[f"-p{n}" for n in names])
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    return found[names[0]] if len(names) == 1 else [found[n] for n in names]


def pid():
    return int(show("MainPID"))


def journal(*more):
    return lib.run("journalctl", "--no-pager", "-u", UNIT, *more).stdout


def drop_in(name, text):
    DROPIN.mkdir(parents=True, exist_ok=True)
    (DROPIN / name).write_text(text)
    systemctl("daemon-reload")


def drop_out(name):
    (DROPIN / name).unlink()
    systemctl("daemon-reload")


def configure(name, text):
    (CONFIG / "dormouse.d" / name).write_text(text)


@pytest.fixture(scope="module")
def gateway():
    """Installed, and started once, as an administrator does."""
    shutil.copytree(os.environ["LAB_ROOT"], "/", dirs_exist_ok=True, symlinks=True)
    lib.run("systemd-sysusers")
    lib.run("systemd-tmpfiles", "--create", "dormouse.conf")
    systemctl("reload", "dbus")                                # its policy names a user that was not there a moment ago
    lib.run("journalctl", "--update-catalog")
    systemctl("daemon-reload")
    systemctl("start", UNIT)
    return conftest.Api(SOCK)


# ---- started

def test_start_returns_when_the_gateway_answers(gateway):
    """READY=1 is true: no look has to be repeated."""
    assert gateway.get("status")["state_dir"] == str(STATE)
    assert show("ActiveState", "SubState", "NRestarts") == ["active", "running", "0"]
    assert "coaps://[::]:5684" in lib.run("dormousectl", "status").stdout


def test_status_is_shown(gateway):
    text = lib.wait_for(lambda: re.fullmatch(r"\d+ endpoints, .*updates.*jobs.*", show("StatusText")), "a status line")[0]
    assert text in systemctl("status", UNIT)


def test_what_it_makes_is_its_own(gateway):
    """Owners and modes of the state, the run-time directory and the socket."""
    def owner(path):
        p = pathlib.Path(path)
        return p.owner(), p.group(), oct(stat.S_IMODE(p.stat().st_mode))
    assert owner(STATE) == ("dormouse", "dormouse", "0o750")
    assert owner(STATE / "dormouse.db") == ("dormouse", "dormouse", "0o600")
    assert owner(STATE / "audit.key") == ("dormouse", "dormouse", "0o600")
    assert owner(STATE / "incoming") == ("dormouse", "dormouse", "0o770")
    assert owner("/run/dormouse") == ("dormouse", "dormouse", "0o750")
    assert owner(SOCK) == ("dormouse", "dormouse", "0o660")
    assert owner(CONFIG / "dormouse.toml")[0] == "root"


def test_the_process_has_no_privilege(gateway):
    fields = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid()}/status").read_text().splitlines() if ":\t" in line)
    import pwd
    assert fields["Uid"].split() == [str(pwd.getpwnam("dormouse").pw_uid)] * 4
    assert all(int(fields[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"


def test_the_journal_explains_events(gateway):
    """Message ids come with their catalog texts."""
    entry = json.loads(journal("-o", "json", "MESSAGE_ID=7f0a6f20c0d14d0e9a4e3b8f5f2b1001").splitlines()[-1])
    assert entry["_SYSTEMD_UNIT"] == UNIT and entry["PRIORITY"] in "3456"
    assert "Dormouse has started" in journal("-x", "MESSAGE_ID=7f0a6f20c0d14d0e9a4e3b8f5f2b1001")


# ---- reloaded

def test_reload_takes_a_changed_key(gateway):
    """By `systemctl reload`, in the running process; a refused file changes nothing and stops nothing."""
    before = pid()
    configure("10-reload.toml", "[directory]\nmax_endpoints = 7\n")
    systemctl("reload", UNIT)
    lib.wait_for(lambda: "directory.max_endpoints: 50000 -> 7" in journal(), "the changed key is told")
    lib.wait_for(lambda: show("ActiveState") == "active", "it is ready again")
    configure("10-reload.toml", "[directory]\nmax_endpoint = 7\n")
    systemctl("reload", UNIT)
    lib.wait_for(lambda: "10-reload.toml:2: directory.max_endpoint" in journal(), "the mistake is told")
    lib.wait_for(lambda: show("ActiveState") == "active", "it goes on")
    (CONFIG / "dormouse.d/10-reload.toml").unlink()
    os.kill(before, signal.SIGHUP)
    lib.wait_for(lambda: "directory.max_endpoints: 7 -> 50000" in journal(), "the key is back")
    assert pid() == before and gateway.get("status")


# ---- confined

PROBE = "/lab/guest/probe.py"
# These the same user may do outside of the unit, or is kept from by another rule: each stands for a setting of the unit.
ONLY_THE_UNIT = {
    "socket-packet", "socket-alg", "socket-vsock", "socket-can",           # RestrictAddressFamilies
    "map-written-code", "run-code-from-memory",                            # MemoryDenyWriteExecute
    "user-namespace",                                                      # RestrictNamespaces
    "write-etc-probe", "write-var-lib-probe", "write-usr-bin-probe",       # ProtectSystem
    "read-dev-vda", "write-dev-probe",                                     # PrivateDevices
    "read-tmp-secret",                                                     # PrivateTmp
    "see-others",                                                          # ProtectProc
    "be-another-machine",                                                  # LockPersonality
    "suid-file",                                                           # RestrictSUIDSGID
    "set-proc-sys-kernel-core_pattern",                                    # ProtectKernelTunables
}


def test_the_sandbox_denies(gateway):
    """A probe in the daemon's place, that is, under every setting of the unit, tries what a captured daemon would; and the same
    outside, to know what it is that denies."""
    drop_in("probe.conf", f"[Service]\nExecStartPre=/usr/bin/python3 {PROBE} /run/dormouse/probe.json\n")
    pathlib.Path("/tmp/secret").write_text("x")
    systemctl("restart", UNIT)
    found = json.loads(pathlib.Path("/run/dormouse/probe.json").read_text())
    drop_out("probe.conf")
    broken = {name: error for name, error in found.items() if name.startswith("may-") and error}
    done = {name for name, error in found.items() if not name.startswith("may-") and not error}
    assert not broken, "must work, but does not"
    assert not done, "must not work, but does"
    assert len(found) > 60
    lib.run("setpriv", "--reuid=dormouse", "--regid=dormouse", "--clear-groups", "python3", PROBE, "/run/dormouse/outside.json",
            env=dict(os.environ, STATE_DIRECTORY=str(STATE), RUNTIME_DIRECTORY="/run/dormouse"))
    outside = json.loads(pathlib.Path("/run/dormouse/outside.json").read_text())
    only = {name for name, error in found.items() if not name.startswith("may-") and error != outside[name]}
    assert ONLY_THE_UNIT <= only, {n: (found[n], outside[n]) for n in ONLY_THE_UNIT - only}
    n = sum(name.startswith("may-") for name in found)
    conftest.figures(f"sandbox: {len(found) - n} attempts denied, {len(only)} of them by the unit's own settings; {n} needed things work")


# ---- credentials

def test_a_credential_is_handed_over(gateway):
    """LoadCredential= as the unit's first lines say: the token is asked for, and the file of root's stays unread by others."""
    token = CONFIG / "api-token"
    token.write_text("a-token-of-some-length-1\n")
    token.chmod(0o600)
    drop_in("token.conf", "[Service]\nLoadCredential=api-token:/etc/dormouse/api-token\n")
    configure("20-token.toml", '[http]\ntoken_file = "${CREDENTIALS_DIRECTORY}/api-token"\n')
    systemctl("restart", UNIT)

    def answer(*headers):
        return lib.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", *headers, "http://127.0.0.1:8080/api/v1/reload").stdout
    assert answer() in ("401", "403")
    assert answer("-H", "Authorization: Bearer wrong-token-of-length-1") == "401"
    assert answer("-H", "Authorization: Bearer a-token-of-some-length-1") == "200"
    systemctl("reload", UNIT)                                  # reads it again
    lib.wait_for(lambda: show("ActiveState") == "active", "it is ready again")
    assert answer("-H", "Authorization: Bearer a-token-of-some-length-1") == "200"
    drop_out("token.conf")
    (CONFIG / "dormouse.d/20-token.toml").unlink()
    systemctl("restart", UNIT)


# ---- watched

def wait_new_process(before, n, what):
    lib.wait_for(lambda: show("NRestarts", "ActiveState") == [str(n), "active"] and pid() not in (0, before), what, 30)


def test_a_daemon_that_hangs_is_killed_and_comes_back(gateway):
    """kill -STOP: the watchdog bites, the next process has the state."""
    drop_in("watchdog.conf", "[Service]\nWatchdogSec=4\n")
    systemctl("restart", UNIT)
    assert gateway.api("devices/kept", "PUT", {"identity": "kept", "proof": "none"})[0] == 200
    before = pid()
    lib.wait_for(lambda: int(show("WatchdogTimestampMonotonic")) > int(show("ExecMainStartTimestampMonotonic")), "it is fed")
    os.kill(before, signal.SIGSTOP)
    wait_new_process(before, 1, "the watchdog's restart")
    assert re.search(r"Watchdog timeout \(limit 4s\)", journal())
    assert "kept" in [d["id"] for d in gateway.items("devices")]
    drop_out("watchdog.conf")


def test_a_daemon_that_dies_comes_back(gateway):
    before = pid()
    os.kill(before, signal.SIGKILL)
    wait_new_process(before, 2, "the restart")
    assert "kept" in [d["id"] for d in gateway.items("devices")]


def test_a_refused_configuration_is_not_tried_again(gateway):
    """Exit 78 and no loop of restarts."""
    configure("30-bad.toml", "[directory]\nmax_endpoint = 7\n")
    systemctl("restart", UNIT, ok=1)
    systemctl("reset-failed", UNIT, ok=None)
    systemctl("start", UNIT, ok=1)
    assert show("ActiveState", "Result", "ExecMainStatus", "NRestarts") == ["failed", "exit-code", "78", "0"]
    assert "30-bad.toml:2: directory.max_endpoint" in journal("-n", "30")
    (CONFIG / "dormouse.d/30-bad.toml").unlink()
    systemctl("start", UNIT)
    assert gateway.get("status")


# ---- radios below IPv6

def test_an_interface_is_set_up_with_the_drop_in_alone(gateway):
    """The unit has no right to: it says which one it lacks. With the example that is installed it has just the two that it needs."""
    lib.run("modprobe", "tun")
    lib.run("ip", "tuntap", "add", "dev", "wpan0", "mode", "tun")
    lib.run("ip", "link", "set", "wpan0", "up")
    configure("50-radio.toml", '[[lowpan]]\ninterface = "wpan0"\nkind = "thread"\naddress = "fd00:7::1/64"\nadvertise = true\n')
    example = pathlib.Path("/usr/share/doc/dormouse/examples/radio.conf").read_text()
    try:
        systemctl("restart", UNIT)
        lib.wait_for(lambda: "CAP_NET_ADMIN" in gateway.get("radios/wpan0")["state"], "it names the right", 20)
        drop_in("radio.conf", example)
        systemctl("restart", UNIT)
        lib.wait_for(lambda: gateway.get("radios/wpan0")["is_advertising"], "it offers the prefix", 20)
        radio = gateway.get("radios/wpan0")
        assert (radio["state"], radio["address"]) == ("ready", "fd00:7::1/64")
        caps = [line for line in pathlib.Path(f"/proc/{pid()}/status").read_text().splitlines() if line.startswith("CapEff")]
        assert int(caps[0].split()[1], 16) == 1 << 12 | 1 << 13      # CAP_NET_ADMIN, CAP_NET_RAW
    finally:
        (CONFIG / "dormouse.d/50-radio.toml").unlink()
        if (DROPIN / "radio.conf").exists():
            drop_out("radio.conf")
        lib.run("ip", "link", "del", "wpan0")
    systemctl("restart", UNIT)


# ---- stopped

def test_stop_is_clean(gateway):
    """SIGTERM: a good end in good time; what was acknowledged is there at the next start."""
    assert gateway.api("devices/last", "PUT", {"identity": "last", "proof": "none"})[0] == 200
    before = pid()
    systemctl("stop", UNIT)
    assert show("ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]
    assert not os.path.exists(f"/proc/{before}")
    assert not os.path.exists(SOCK)
    lib.run("setpriv", "--reuid=dormouse", "--regid=dormouse", "--clear-groups", "dormousectl", "audit", "verify", "--state", STATE)
    systemctl("start", UNIT)
    assert {"kept", "last"} <= {d["id"] for d in gateway.items("devices")}
    assert subprocess.run(["systemctl", "is-failed", UNIT], stdout=subprocess.DEVNULL).returncode == 1


# ---- Bluetooth

def test_bluetooth_is_reached_from_the_sandbox(gateway):
    """The D-Bus policy that is installed lets the unit's user speak to bluetoothd, and the sandbox lets it have the bus. BLZ-13."""
    lib.run("systemctl", "reload", "dbus")             # the policy names a user that was made after the bus had started
    lib.run("/lab/guest/ble-up", 2)
    node = subprocess.Popen(["python3", "/lab/guest/smp_node.py", "hci1", "--state", "/run/ble-node", "--name", "meter"], stdin=subprocess.PIPE)
    try:
        configure("40-ble.toml", '[ble]\nenabled = true\nadapters = ["hci0"]\nscan_s = 30\nscan_every_s = 30\n')
        systemctl("restart", UNIT)
        try:
            lib.wait_for(lambda: [a["is_powered"] for a in gateway.items("ble/adapters")] == [True], "the adapter is used", 40)
            found = lib.wait_for(lambda: gateway.items("ble/nodes"), "the node is heard", 40)
        except lib.Timeout as e:
            raise lib.Timeout(f"{e}; adapters: {gateway.items('ble/adapters')}; journal: {journal('-n', 15)}") from None
        assert [n["name"] for n in found] == ["meter"]
    finally:
        node.kill()
        node.wait()
        (CONFIG / "dormouse.d/40-ble.toml").unlink()
        lib.run("/lab/guest/ble-down")
    systemctl("restart", UNIT)
