"""A node that takes Nordic's Secure DFU (service FE59) or Legacy DFU (service 00001530-...) over GATT. Written from the protocol's
description, so that the gateway's own idea of it is not tested against itself.

It runs an application, whose version is in --state/version, and is told to become its boot loader, which advertises on the same
controller, or (--other HCI) on another one, whose address is the next. The boot loader keeps what was executed, and how far the
object under way came, over lost links. A firmware that passes is in --state/application, and the application starts.

--is says what is special: loses (a packet in fifty), forgets (a restart loses what was sent), stays (boot loader from the start)."""
import hashlib
import struct
import subprocess
import tempfile
import zlib

from gi.repository import GLib

import ble_peripheral as ble
from ble_peripheral import log, uuid16
from nordic_package import crc16

FE59 = uuid16(0xfe59)
CONTROL, PACKET, BUTTONLESS, BUTTONLESS_BONDS = (f"8ec9000{i}-f315-4f60-9fb8-838830daea50" for i in (1, 2, 3, 4))
LEGACY, LEGACY_CONTROL, LEGACY_PACKET, LEGACY_VERSION = (f"0000153{i}-1212-efde-1523-785feabcd123" for i in (0, 1, 2, 4))
OK, BAD_OPCODE, BAD_PARAMETER, NO_RESOURCES, BAD_OBJECT, BAD_TYPE, NOT_PERMITTED, FAILED, EXTENDED = 1, 2, 3, 4, 5, 7, 8, 10, 11
EXT_INIT_INVALID, EXT_VERSION_TOO_LOW, EXT_NO_SIGNATURE, EXT_HASH_FAILED, EXT_VERIFICATION = 4, 5, 8, 10, 12


def fields(data):
    """A protobuf message as {number: value}: integers and bytes; ValueError."""
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("cut")
            b = data[at]
            at += 1
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value
    found, at = {}, 0
    while at < len(data):
        key = varint()
        value = varint()
        if key & 7 == 2:
            if at + value > len(data):
                raise ValueError("cut")
            value, at = data[at:at + value], at + value
        elif key & 7:
            raise ValueError("type")
        found[key >> 3] = value
    return found


class Refusal(Exception):
    def __init__(self, *code):
        super().__init__(" ".join(str(c) for c in code))
        self.code = bytes(code)


class Object:
    """One of the two things that are sent: 1 the init packet, 2 the firmware."""

    def __init__(self, size_max):
        self.size_max, self.done, self.part, self.size = size_max, b"", b"", 0

    @property
    def all(self):
        return self.done + self.part


class NordicNode(ble.Node):
    def __init__(self, options):
        super().__init__(options)
        self.kinds = set(options.kinds.split(",")) - {""}
        self.is_boot_loader = "stays" in self.kinds
        self.boot_controller = ble.Controller(self.bus, options.other, self.disconnected) if options.other else self.controller
        self.objects = {1: Object(512), 2: Object(options.object_bytes)}
        self.current, self.prn, self.since, self.packets, self.max_packet, self.init = None, 0, 0, 0, 0, None
        self.legacy, self.is_deaf, self.was_cut = None, False, False
        self.log = {"creates": 0, "executes": 0, "lost": 0, "resumed": 0, "updates": 0, "extended": 0}
        if not self.load("version"):
            self.save("version", b"1")
        self.version = int(self.load("version"))

    # ---- what is on the air

    def offer(self):
        """As the application."""
        if self.is_boot_loader and self.boot_controller is self.controller:
            return self.offer_boot()
        o = self.options
        if o.legacy:
            self.control = ble.Characteristic(LEGACY_CONTROL, ["write", "notify"], write=self.legacy_jump)
            own = {LEGACY: [self.control, ble.Characteristic(LEGACY_PACKET, ["write-without-response"], write=lambda v: None),
                            ble.Characteristic(LEGACY_VERSION, ["read"], read=lambda: b"\x01\x00")]}
        else:
            self.control = ble.Characteristic(BUTTONLESS if o.other else BUTTONLESS_BONDS, ["write", "indicate"], write=self.buttonless)
            own = {FE59: [self.control]}
        return {**own, **self.common(f"{self.version}.0.0")}, [ble.OWN % 0], o.name or "tag-" + o.hci, b""

    def offer_boot(self):
        """As the boot loader."""
        if self.options.legacy:
            self.control = ble.Characteristic(LEGACY_CONTROL, ["write", "notify"], write=self.legacy_write)
            self.data = ble.Characteristic(LEGACY_PACKET, ["write-without-response"], write=self.legacy_packet)
            return {LEGACY: [self.control, self.data,
                             ble.Characteristic(LEGACY_VERSION, ["read"], read=lambda: b"\x08\x00")]}, [LEGACY], "DfuTarg", b""
        self.control = ble.Characteristic(CONTROL, ["write", "notify"], write=self.take)
        self.data = ble.Characteristic(PACKET, ["write-without-response"], write=self.packet)
        return {FE59: [self.control, self.data]}, [FE59], "DfuTarg", b""

    def become(self, boot_loader):
        """Restarts as the other one."""
        leaving = self.boot_controller if self.is_boot_loader else self.controller
        self.is_boot_loader = boot_loader
        self.restarts += 1

        def up():
            log("starts as", "boot loader" if boot_loader else f"application {self.version}")
            if boot_loader:
                self.boot_controller.serve(self.offer_boot)
            else:
                self.controller.serve(self.offer)
            return False
        leaving.stop(lambda: GLib.timeout_add(self.options.boot_ms, up))
        return False

    def leave(self, seconds):
        """Out of range: from now on nothing reaches it."""
        self.is_deaf = True
        leaving = self.boot_controller if self.is_boot_loader else self.controller
        leaving.stop(lambda: GLib.timeout_add(int(seconds * 1000), self.back))

    def back(self):
        self.is_deaf = False
        if self.is_boot_loader:
            self.boot_controller.serve(self.offer_boot)
        else:
            self.controller.serve(self.offer)
        return False

    def command(self, words):
        if words[0] == "away":
            self.leave(float(words[1]))
        else:
            super().command(words)

    def disconnected(self):
        """What came of the object under way stays, unless it forgets."""
        self.prn = self.since = 0
        if "forgets" in self.kinds:
            for o in self.objects.values():
                o.part, o.size = b"", 0
        if self.legacy:
            self.legacy = None                                 # that boot loader knows no resuming

    # ---- Secure DFU

    def buttonless(self, value):
        if value == b"\x01":
            self.control.notify(b"\x20\x01\x01")
            GLib.timeout_add(300, lambda: self.become(True))
        else:
            self.control.notify(bytes([0x20, value[0] if value else 0, 2]))

    def take(self, value):
        self.data.drain()
        op = value[0] if value else 0
        if self.is_deaf:
            return
        try:
            answer = bytes([0x60, op, OK]) + self.request(op, value[1:])
        except Refusal as e:
            log(f"op {op}: refused, {e}")
            answer = bytes([0x60, op]) + e.code
        self.control.notify(answer)

    def request(self, op, data):
        if op == 6:
            if len(data) != 1 or data[0] not in self.objects:
                raise Refusal(BAD_TYPE)
            o = self.current = self.objects[data[0]]
            if o.all:
                self.log["resumed"] += 1
                log("is asked where it stands:", len(o.all))
            return struct.pack("<III", o.size_max, len(o.all), zlib.crc32(o.all))
        if op == 1:
            return self.create(*struct.unpack("<BI", data))
        if op == 2:
            self.prn, self.since = struct.unpack("<H", data)[0], 0
            return b""
        if op == 3 and self.current:
            return struct.pack("<II", len(self.current.all), zlib.crc32(self.current.all))
        if op == 4 and self.current:
            return self.execute()
        raise Refusal(BAD_OPCODE if op not in (3, 4) else NOT_PERMITTED)

    def create(self, kind, size):
        o = self.objects.get(kind)
        if o is None:
            raise Refusal(BAD_TYPE)
        if size == 0 or size > o.size_max:
            raise Refusal(BAD_PARAMETER)
        if kind == 2 and self.init is None:
            raise Refusal(NOT_PERMITTED)
        if kind == 1:
            o.done, self.init = b"", None
            self.objects[2].done = self.objects[2].part = b""
        self.log["creates"] += 1
        o.part, o.size, self.current, self.since = b"", size, o, 0
        return b""

    def packet(self, value):
        o = self.current
        if self.is_deaf:
            return
        self.packets += 1
        self.max_packet = max(self.max_packet, len(value))
        if "loses" in self.kinds and self.packets % 50 == 0:
            self.log["lost"] += 1
            return
        if o is None or len(o.part) + len(value) > o.size:
            log("a packet too much")
            return
        o.part += value
        self.since += 1
        if self.options.cut_at and not self.was_cut and len(self.objects[2].all) >= self.options.cut_at:
            self.was_cut = True
            log("is out of range for 3 s")
            self.leave(3)
            return
        if self.prn and self.since == self.prn:
            self.since = 0
            self.control.notify(bytes([0x60, 3, OK]) + struct.pack("<II", len(o.all), zlib.crc32(o.all)))

    def execute(self):
        o = self.current
        if len(o.part) != o.size:
            raise Refusal(NOT_PERMITTED)
        if o.size == 0:
            return b""
        self.log["executes"] += 1
        if o is self.objects[1]:
            self.check_init(o.part)
            return b""                                         # select still tells of it
        o.done, o.part, o.size = o.all, b"", 0
        if len(o.done) >= self.init["size"]:
            self.finish(o.done)
        return b""

    def check_init(self, packet):
        """An init packet as nrfutil makes it, signed when a key was given."""
        try:
            outer = fields(packet)
            signed = fields(outer[2]) if 2 in outer else None
            command = fields(signed[1] if signed else outer[1])
            init = fields(command[2])
            info = {"version": init.get(1, 0), "size": init.get(7, 0), "hash": fields(init[8])[2][::-1]}
        except (ValueError, KeyError, TypeError):
            raise Refusal(EXTENDED, EXT_INIT_INVALID) from None
        if self.options.key:
            if signed is None:
                raise Refusal(EXTENDED, EXT_NO_SIGNATURE)
            if not self.is_signed(command[2], signed[3]):      # the InitCommand alone
                raise Refusal(EXTENDED, EXT_VERIFICATION)
        if info["version"] < self.version:
            self.log["extended"] += 1
            raise Refusal(EXTENDED, EXT_VERSION_TOO_LOW)
        if self.init is None or self.init["hash"] != info["hash"]:
            self.objects[2].done = self.objects[2].part = b""
        self.init = info

    def is_signed(self, command, signature):
        """r and s come with their lowest byte first."""
        def number(b):
            b = b.lstrip(b"\0") or b"\0"
            b = (b"\0" if b[0] & 128 else b"") + b
            return b"\x02" + bytes([len(b)]) + b
        if len(signature) != 64:
            return False
        both = number(signature[:32][::-1]) + number(signature[32:][::-1])
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"\x30" + bytes([len(both)]) + both)
            f.flush()
            return subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.options.key, "-signature", f.name], input=command,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def finish(self, firmware):
        if hashlib.sha256(firmware).digest() != self.init["hash"]:
            self.objects[2].done = b""
            self.log["extended"] += 1
            raise Refusal(EXTENDED, EXT_HASH_FAILED)
        self.install(firmware, self.init["version"])
        self.objects[1].part = self.objects[2].done = b""
        self.init = None

    def install(self, firmware, version):
        self.save("application", firmware)
        self.save("version", b"%d" % version)
        self.version = version
        self.log["updates"] += 1
        log("has", len(firmware), "bytes, version", version)
        GLib.timeout_add(400, lambda: self.become(False))

    # ---- Legacy DFU

    def legacy_jump(self, value):
        if value == b"\x01\x04":
            GLib.timeout_add(100, lambda: self.become(True))

    def legacy_write(self, value):
        self.data.drain()
        op, rest, l = value[0] if value else 0, value[1:], self.legacy
        status, wants = OK, True
        if op == 1:
            self.legacy = {"kind": rest[0] if rest else 0, "size": 0, "init": b"", "data": b"", "phase": "sizes", "prn": 0, "since": 0}
            wants = False                                      # answered when the sizes are there
            if self.legacy["kind"] != 4:
                status, wants = 3, True
        elif op in (5, 6):
            if op == 5 and l and l["phase"] == "valid":
                self.install(l["data"], self.version + 1)
            else:
                GLib.timeout_add(100, lambda: self.become(False))
            return
        elif l is None:
            status = 2
        elif op == 2:
            wants = rest == b"\x01"
            if rest == b"\0":
                l["phase"], l["init"] = "init", b""
            elif len(l["init"]) < 14:
                status = 6
        elif op == 3:
            l["phase"], wants = "data", False                  # answered when all is there
        elif op == 4:
            l["phase"] = "valid" if len(l["data"]) == l["size"] and crc16(l["data"]) == struct.unpack("<H", l["init"][-2:])[0] else "bad"
            status = OK if l["phase"] == "valid" else 5
        elif op == 7:
            self.control.notify(b"\x11" + struct.pack("<I", len(l["data"])))
            return
        elif op == 8:
            l["prn"], wants = struct.unpack("<H", rest)[0], False
        else:
            status = 3
        if wants:
            self.control.notify(bytes([0x10, op, status]))

    def legacy_packet(self, value):
        l = self.legacy
        self.packets += 1
        self.max_packet = max(self.max_packet, len(value))
        if l is None or len(value) > 20:
            log("a packet nobody waits for", len(value))
        elif l["phase"] == "sizes":
            l["size"] = struct.unpack("<III", value)[2]
            self.control.notify(bytes([0x10, 1, OK if 0 < l["size"] < 1 << 19 else 4]))
        elif l["phase"] == "init":
            l["init"] += value
        elif l["phase"] == "data":
            l["data"] += value
            l["since"] += 1
            if len(l["data"]) == l["size"]:
                self.control.notify(bytes([0x10, 3, OK]))
            elif l["prn"] and l["since"] % l["prn"] == 0:
                self.control.notify(b"\x11" + struct.pack("<I", len(l["data"])))

    def status(self):
        o = self.objects
        return {"version": self.version, "boot_loader": self.is_boot_loader, "off": len(o[2].all), "packets": self.packets, "max_packet": self.max_packet,
                "legacy_off": len(self.legacy["data"]) if self.legacy else 0, "boot_connects": self.boot_controller.connects, **self.log}


def main():
    p = NordicNode.parser(__doc__.split("\n")[0])
    p.add_argument("--is", dest="kinds", default="", help="loses, forgets, stays; with commas")
    p.add_argument("--other", default="", help="controller of its boot loader")
    p.add_argument("--legacy", action="store_true")
    p.add_argument("--key", default="", help="public key, PEM: only init packets signed with it are taken")
    p.add_argument("--cut-at", type=int, default=0, help="so many bytes of firmware, and it is out of range for a while, once")
    p.add_argument("--object-bytes", type=int, default=4096)
    NordicNode(p.parse_args()).run()


main()
