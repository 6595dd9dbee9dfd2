"""A gateway with a Bluetooth LE controller, and nodes in Python with one or two each: all on real BlueZ (ble-up)."""
import json
import os
import random
import shutil
import signal
import struct
import hashlib
import subprocess
import time

import ble_client
import conftest
import lib


def mcuboot(version, n, seed=1):
    """An image as imgtool makes it, without a signature: header, body, TLVs with its SHA-256."""
    major, minor, revision = version
    body = struct.pack("<IIHHIIBBHII", 0x96f3b83d, 0, 32, 0, n, 0, major, minor, revision, 0, 0) + random.Random(seed).randbytes(n)
    tlv = struct.pack("<HH", 0x10, 32) + hashlib.sha256(body).digest()
    return body + struct.pack("<HH", 0x6907, 4 + len(tlv)) + tlv


class Node:
    """A node's process. name: its device's, too; hci: its controller's number."""

    def __init__(self, field, program, name, hci, *options):
        self.field, self.name, self.hci = field, name, hci
        self.address = field.addresses[f"hci{hci}"]
        self.id = "ble-" + self.address.replace(":", "").lower()
        self.dir = os.path.join(field.dir, "node-" + name)
        self.past = set()
        self.log_file, self.state = os.path.join(self.dir, "log"), os.path.join(self.dir, "state")
        os.makedirs(self.state, exist_ok=True)
        self.args = ["python3", f"/lab/guest/{program}.py", f"hci{hci}", "--state", self.state, "--name", name, *[str(o) for o in options]]

    def start(self):
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen(self.args, stdout=log, stderr=log, stdin=subprocess.PIPE)
        return self

    def check_alive(self):
        assert self.proc.poll() is None, self.log_text()[-2000:]

    def log_text(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    def status(self):
        with open(os.path.join(self.state, "status.json")) as f:
            return json.load(f)

    def tell(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()

    def flash(self, name):
        with open(os.path.join(self.state, name), "rb") as f:
            return f.read()

    def stop(self):
        self.proc.kill()
        self.proc.wait()
        shutil.copy(self.log_file, os.path.join(os.environ["LAB_OUT"], f"ble-{self.name}.log"))


class Smp(Node):
    OLD = mcuboot((1, 0, 0), 5000, 99)

    def __init__(self, field, name, hci, *options):
        super().__init__(field, "smp_node", name, hci, *options)
        with open(os.path.join(self.state, "slot-0"), "wb") as f:
            f.write(self.OLD)


class Nordic(Node):
    def __init__(self, field, name, hci, *options):
        super().__init__(field, "nordic_node", name, hci, *options)


class Field:
    """Controllers, nodes as they are added, and a gateway that takes signed envelopes from a folder. Each device has a class of its
    own, so that an update is for the device that a test names."""

    def __init__(self, folder, controllers, up=()):
        start = time.monotonic()
        self.dir, self.nodes, self.gateway = folder, [], None
        shutil.copytree(os.path.join(os.environ["LAB_ROOT"], "usr"), "/usr", dirs_exist_ok=True, symlinks=True)
        lib.run("systemd-sysusers")
        out = lib.run("/lab/guest/ble-up", *up, controllers).stdout
        self.addresses = dict(line.split() for line in out.splitlines())
        self.client = ble_client.Client()
        self.updates = os.path.join(folder, "updates")
        os.mkdir(self.updates)
        self.key, self.public = os.path.join(folder, "key.pem"), os.path.join(folder, "public.pem")
        lib.ctl("author", "keygen", "-o", self.key, "--public", self.public)
        self.sequence = 1
        print(f"{controllers} controllers: {time.monotonic() - start:.0f} s")

    def add(self, kind, *args):
        node = kind(self, *args).start()
        self.nodes.append(node)
        return node

    def wait_on_air(self, nodes=None, seconds=60):
        for n in nodes or self.nodes:
            lib.wait_for(lambda: n.status()["registered"] > 0, f"{n.name} is on the air", seconds, [n])

    def start_gateway(self, config=None):
        tables = {"coap": {"listen": ["coap://127.0.0.1:5683", "coaps://[::]:5684"]}, "directory": {"open": False, "auto_enrol": False},
                  "source": [{"name": "folder", "kind": "folder", "path": self.updates, "poll_s": 2, "policy": "auto"}],
                  "anchor": [{"name": "vendor", "file": self.public, "vendor_ids": [str(lib.vendor_uuid())]}],
                  "rollout": {"retry_max": 0}, "smp": {"proof_s": 1, "restart_s": 60},
                  "ble": {"enabled": True, "adapters": ["hci0"], "scan_s": 4, "scan_every_s": 6, "idle_s": 2, "open": True}}
        for name, table in (config or {}).items():
            tables[name] = {**tables[name], **table} if isinstance(table, dict) and name in tables else table
        # As its own user, whom the installed D-Bus policy lets do what it needs.
        self.gateway = lib.Daemon(self.dir, tables, wrapper=["setpriv", "--reuid=dormouse", "--regid=dormouse", "--clear-groups", "--no-new-privs"])
        shutil.chown(self.gateway.dir, "dormouse", "dormouse")
        self.gateway.start()
        return self.gateway

    def configure(self, tables):
        self.gateway.configure(tables)
        self.gateway.post("reload")

    def enrol(self, node, driver):
        lib.ctl("-s", self.gateway.sock, "devices", "add", node.name, "--vendor", lib.VENDOR, "--class", node.name, "--driver", driver, "--address", node.address)

    def publish(self, node, image):
        """A signed envelope for this node that names its image, both in the folder."""
        self.sequence += 1
        node.past = {j["id"] for j in self.gateway.items(f"jobs?device={node.name}")}
        bin_file, out = os.path.join(self.updates, f"image-{self.sequence}.bin"), os.path.join(self.dir, "new.suit")
        with open(bin_file, "wb") as f:
            f.write(image)
        lib.ctl("author", "sign", "--key", self.key, "--vendor", lib.VENDOR, "--class", node.name, "--sequence", self.sequence, "--image", bin_file,
                "--uri", f"https://vendor.example/image-{self.sequence}.bin", "--version", f"1.{self.sequence}.0", "-o", out)
        os.rename(out, os.path.join(self.updates, f"update-{self.sequence}.suit"))
        return self.sequence

    def job(self, node):
        """That of what was published last."""
        return next((j for j in self.gateway.items(f"jobs?device={node.name}") if j["id"] not in node.past), None)

    def wait_job(self, node, state, seconds=60, reason=""):
        """The node's job, when it is in that state and its reason has that text."""
        def found():
            j = self.job(node)
            return j if j and j["state"] == state and reason in j["reason"] else None
        try:
            return lib.wait_for(found, f"the job of {node.name} is {state}", seconds, [self.gateway, node])
        except lib.Timeout as e:
            raise lib.Timeout(f"{e}; it is {self.job(node)}, the node {node.status()}") from None

    def wait_status(self, node, test, what, seconds=60):
        try:
            return lib.wait_for(lambda: (lambda s: s if test(s) else None)(node.status()), what, seconds, [node, self.gateway])
        except lib.Timeout as e:
            raise lib.Timeout(f"{e}; the node: {node.status()}, its job: {self.job(node)}") from None

    def kill_bluetoothd(self):
        """As a crash does; and started again, as systemd does."""
        with open("/run/lab/ble/bluetoothd.pid") as f:
            os.kill(int(f.read()), signal.SIGKILL)
        lib.run("/lab/guest/ble-bluetoothd")

    def pull_adapters(self):
        """All controllers are gone, as a stick that is pulled, and others of the same addresses come."""
        with open("/run/lab/ble/btvirt.pid") as f:
            os.kill(int(f.read()), signal.SIGKILL)
        lib.wait_for(lambda: not self.client.adapters(), "the adapters are gone")
        lib.run("/lab/guest/ble-controllers", len(self.addresses))

    def ctl(self, *args, ok=0):
        return lib.ctl("-s", self.gateway.sock, *args, ok=ok).stdout

    def stop(self):
        if self.gateway:
            self.gateway.kill9()
            shutil.copy(self.gateway.log_file, os.path.join(os.environ["LAB_OUT"], "ble-gateway.log"))
        for n in self.nodes:
            n.stop()
        shutil.copy("/run/lab/ble/bluetoothd.log", os.path.join(os.environ["LAB_OUT"], "ble-bluetoothd.log"))
        lib.run("/lab/guest/ble-down", ok=None)

    def logs(self):
        """The ends of the logs, for a test that failed."""
        for thing in [self.gateway, *self.nodes]:
            if thing:
                print(f"\n---- end of {thing.log_file}\n{thing.log_text()[-4000:]}")


def figure(text):
    conftest.figures("ble: " + text)
