"""A field of nodes on simulated IEEE 802.15.4 radios: radio 0 is the gateway's, each node lives in a network namespace of its own.

The kernel counts the frames: what a radio sent is what its interface sent, and what netem took from it on the way out (those
frames were on the air, and nobody heard them)."""
import json
import os
import shutil
import subprocess
import time

import lib

GATEWAY = "fd00:15:4::1"


def command(*args):
    return lib.run(*args).stdout


class Radio:
    """Number 0 is the gateway's."""

    def __init__(self, number):
        self.number, self.wpan = number, f"wpan{number}"
        self.prefix = ["ip", "netns", "exec", f"node{number}"] if number else []
        self.address = f"fd00:15:4::{number + 1:x}"

    def run(self, *args):
        return command(*self.prefix, *args)

    def statistics(self, interface):
        return json.loads(self.run("ip", "-j", "-s", "link", "show", interface))[0]["stats64"]

    def frames(self):
        """Frames sent, those that netem lost among them."""
        lost = sum(q["drops"] for q in json.loads(self.run("tc", "-s", "-j", "qdisc", "show", "dev", self.wpan)) if q["kind"] == "netem")
        return self.statistics(self.wpan)["tx"]["packets"] + lost

    def dropped(self):
        """(packets that nft's random rule took from this receiver)"""
        rules = json.loads(self.run("nft", "-j", "list", "table", "ip6", "lab"))["nftables"]
        return sum(e["counter"]["packets"] for r in rules if "rule" in r for e in r["rule"]["expr"] if "counter" in e)

    def down(self):
        self.run("ip", "link", "set", "lowpan0", "down")

    def up(self):
        """As whoever configured it does again: the kernel forgets addresses of an interface that goes down."""
        self.run("ip", "link", "set", "lowpan0", "up")
        self.run("ip", "addr", "replace", self.address + "/64", "dev", "lowpan0", "nodad")


class Node(lib.Nodes):
    """One dormouse-node in its namespace."""

    def __init__(self, field, radio, **options):
        super().__init__(field.gateway, field.dir, ep=f"node{radio.number}", gateway=f"coaps://[{GATEWAY}]:5684", **options)
        self.radio = radio

    def start(self, wait=False):
        args = [*self.radio.prefix, lib.binary("dormouse-node"), "--gateway", self.gateway, *self.args]
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen([str(a) for a in args], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def sequence(self):
        try:
            return self.status()[0]["sequence"]
        except (OSError, ValueError, IndexError):
            return 0


class Field:
    """Radios, a gateway that takes signed envelopes from a folder, and devices enrolled with a key each."""

    def __init__(self, folder, count, up=(), config=None):
        start = time.monotonic()
        self.dir, self.count = folder, count
        self.radios = self.make_radios(up, count)
        self.updates = os.path.join(folder, "updates")
        os.mkdir(self.updates)
        self.key, self.public = os.path.join(folder, "key.pem"), os.path.join(folder, "public.pem")
        lib.ctl("author", "keygen", "-o", self.key, "--public", self.public)
        tables = {"coap": {"listen": ["coaps://[::]:5684"]}, "directory": {"open": False, "auto_enrol": False},
                  "source": [{"name": "folder", "kind": "folder", "path": self.updates, "poll_s": 5, "policy": "auto"}],
                  "anchor": [{"name": "vendor", "file": self.public, "vendor_ids": [str(lib.vendor_uuid())]}]}
        tables.update(config or {})
        self.gateway = lib.Daemon(folder, tables).start()
        self.nodes = []
        print(f"field of {count}: {time.monotonic() - start:.0f} s")

    def make_radios(self, up, count):
        command("/lab/guest/lowpan-up", *up, count)
        return [Radio(i) for i in range(count + 1)]

    def populate(self, **options):
        """Enrols and starts a node per radio, and waits until all are registered."""
        for r in self.radios[1:]:
            name = f"node{r.number}"
            psk = f"{r.number:02x}" * 16
            body = {"vendor_id": str(lib.vendor_uuid()), "class_id": str(lib.class_uuid()), "identity": name, "proof": "signature"}
            assert self.gateway.api(f"devices/{name}", "PUT", body)[0] == 200
            assert self.gateway.api(f"credentials/{name}", "PUT", {"secret_hex": psk, "device": name})[0] == 200
            more = {k: (v(r) if callable(v) else v) for k, v in options.items()}
            self.nodes.append(Node(self, r, anchor=self.public, psk_hex=psk, **more))
            self.nodes[-1].start()
        names = {n.ep for n in self.nodes}
        lib.wait_for(lambda: names <= {e["endpoint"] for e in self.gateway.items("endpoints")}, f"{self.count} nodes register", 60,
                     [*self.nodes, self.gateway])

    def publish(self, sequence, image):
        """A signed envelope that names its image, both in the folder."""
        bin_file, out = os.path.join(self.updates, f"image-{sequence}.bin"), os.path.join(self.dir, "new.suit")
        with open(bin_file, "wb") as f:
            f.write(image)
        lib.ctl("author", "sign", "--key", self.key, "--vendor", lib.VENDOR, "--class", lib.MODEL, "--sequence", sequence, "--image", bin_file,
                "--uri", f"https://vendor.example/image-{sequence}.bin", "--version", f"1.{sequence}.0", "-o", out)
        os.rename(out, os.path.join(self.updates, f"update-{sequence}.suit"))

    def frames(self):
        """(by the gateway, by all nodes)"""
        sent = [r.frames() for r in self.radios]
        return sent[0], sum(sent[1:])

    def wait_all_run(self, sequence, seconds):
        try:
            lib.wait_for(lambda: all(n.sequence() == sequence for n in self.nodes), f"all run sequence {sequence}", seconds, [*self.nodes, self.gateway])
        except lib.Timeout as e:
            raise lib.Timeout(f"{e}; nodes: {[(n.ep, n.sequence()) for n in self.nodes]}; jobs: {self.gateway.items('jobs')}") from None

    def check_installed(self, image):
        for n in self.nodes:
            assert n.installed() == {n.ep: image}, f"{n.ep} has another image"

    def stop(self):
        for thing in [*self.nodes, self.gateway]:
            thing.kill9()
            name = os.path.basename(os.path.dirname(thing.log_file))
            shutil.copy(thing.log_file, os.path.join(os.environ["LAB_OUT"], name + ".log"))

    def logs(self):
        """The ends of the logs, for a test that failed."""
        for thing in [self.gateway, *self.nodes]:
            print(f"\n---- end of {thing.log_file}\n{thing.log_text()[-2500:]}")
