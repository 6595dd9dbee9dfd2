"""A node that speaks MCUmgr's SMP over GATT (service 8D53DC1D-...) and has two slots that MCUboot swaps. Written from the protocol's
description, so that the gateway's own idea of it is not tested against itself.

Its flash memory is slot-0 and slot-1 in --state; a test compares the bytes. What is being uploaded survives a lost link, as in a
real node, and not a restart. --is says what is special about it:
  crashes     the new image does not come up: the boot loader goes back to the old one at the next start
  rots        the new image comes up in another state than it was sent: a byte of it changes on the way to the flash
  single      one slot, no test, no confirmation
  v1          the first version of the protocol only
"""
import hashlib
import struct
import time

import cbor2
from gi.repository import GLib

import ble_peripheral as ble
from ble_peripheral import log

SERVICE, CHARACTERISTIC = "8d53dc1d-1db7-4cd3-868b-8a527460aa84", "da2e7828-fbce-4e01-ae9e-261174997c48"
OS, IMAGE = 0, 1
READ, WRITE = 0, 2
RC_INVALID, RC_NOT_SUPPORTED, RC_TOO_OLD, RC_TOO_NEW = 3, 8, 12, 13
IMG_NO_SUCH_HASH, IMG_NO_FREE_SLOT, IMG_NO_OFFSET, IMG_NO_LENGTH, IMG_SHORT_HEADER, IMG_BAD_MAGIC = 8, 9, 20, 21, 22, 23
IMG_BAD_HASH, IMG_OLDER, IMG_PENDING, IMG_TOO_LARGE, IMG_OVERRUN, IMG_TEST_ACTIVE = 24, 27, 28, 30, 31, 33
TLV_HASH = 0x10


def parse_image(data):
    """(version, hash of its TLV area) of an MCUboot image, or None; the hash must be that of header, body and protected TLVs."""
    if len(data) < 32 or data[:4] != b"\x3d\xb8\xf3\x96":
        return None
    header, protected, size = struct.unpack_from("<HHI", data, 8)
    major, minor, revision = struct.unpack_from("<BBH", data, 20)
    end = header + size + protected
    if len(data) < end + 4:
        return None
    magic, total = struct.unpack_from("<HH", data, end)
    if magic != 0x6907 or len(data) < end + total:
        return None
    at = end + 4
    while at + 4 <= end + total:
        kind, n = struct.unpack_from("<HH", data, at)
        if kind == TLV_HASH:
            found = data[at + 4:at + 4 + n]
            return (f"{major}.{minor}.{revision}", found) if found == hashlib.sha256(data[:end]).digest() else None
        at += 4 + n
    return None


class Error(Exception):
    def __init__(self, group, code):
        super().__init__(f"error {code} of group {group}")
        self.group, self.code = group, code


class SmpNode(ble.Node):
    def __init__(self, options):
        super().__init__(options)
        self.kinds = set(options.kinds.split(",")) - {""}
        self.received, self.gap = b"", 0
        self.upload = None                                     # {"len", "sha", "data"}
        self.is_confirmed, self.pending, self.is_permanent = True, False, False
        self.counts = dict.fromkeys(("requests", "uploads", "resumed", "wrong_off", "bytes", "erases", "tests", "confirms", "swaps", "reverts", "broken"), 0)
        self.offsets, self.free_at = [], 0.0
        self.boot_image()

    # ---- the flash memory and the boot loader

    def boot_image(self):
        found = parse_image(self.load("slot-0"))
        self.version = found[0] if found else "0.0.0"

    def swap(self):
        a, b = self.load("slot-0"), self.load("slot-1")
        self.save("slot-0", b)
        self.save("slot-1", a)

    def boot(self):
        """What MCUboot does: to the new image when one is pending, back when the running one was not confirmed."""
        self.upload, self.received = None, b""
        if self.pending and parse_image(self.load("slot-1")):
            self.swap()
            self.counts["swaps"] += 1
            self.is_confirmed, self.pending = self.is_permanent, False
            if "crashes" in self.kinds:
                self.swap()
                self.counts["reverts"] += 1
                self.is_confirmed = True
        elif not self.is_confirmed:
            self.swap()
            self.counts["reverts"] += 1
            self.is_confirmed = True
        self.pending = self.is_permanent = False
        self.boot_image()
        log("boots version", self.version)
        self.controller.serve(self.offer)

    # ---- GATT

    def offer(self):
        flags = ["write-without-response", "notify"]
        if self.options.secure:
            flags.append("encrypt-write")
        self.smp = ble.Characteristic(CHARACTERISTIC, flags, write=self.take)
        return {SERVICE: [self.smp], **self.common(self.version)}, [SERVICE], self.options.name or "smp-" + self.options.hci, b""

    def disconnected(self):
        self.forget()

    def forget(self):
        self.received, self.gap = b"", 0
        return False

    def take(self, value):
        """A piece of a message: the header tells how long it is."""
        if self.gap:
            GLib.source_remove(self.gap)
        self.gap = GLib.timeout_add(5000, self.forget)
        self.received += value
        while len(self.received) >= 8:
            n = 8 + struct.unpack_from(">H", self.received, 2)[0]
            if n > self.options.buf_size:
                self.counts["broken"] += 1
                self.received = b""
                return
            if len(self.received) < n:
                return
            message, self.received = self.received[:n], self.received[n:]
            self.answer(message)

    def answer(self, message):
        first, flags, _, group, sequence, command = struct.unpack(">BBHHBB", message[:8])
        op, version = first & 7, first >> 3 & 3
        self.counts["requests"] += 1
        try:
            if version > (0 if "v1" in self.kinds else 1):
                raise Error(None, RC_TOO_NEW)
            try:
                body = cbor2.loads(message[8:])
            except (cbor2.CBORDecodeError, EOFError):
                body = None
            if not isinstance(body, dict):
                raise Error(None, RC_INVALID)
            handler = getattr(self, f"do_{group}_{command}", None)
            if handler is None or op not in (READ, WRITE):
                raise Error(None, RC_NOT_SUPPORTED)
            reply = handler(op, body)
        except Error as e:
            log(f"group {group} command {command}: {e}")
            reply = {"err": {"group": e.group, "rc": e.code}} if e.group is not None and version == 1 else {"rc": e.code if e.group is None else 1}
        payload = b"\xbf" + b"".join(cbor2.dumps(k) + cbor2.dumps(v) for k, v in reply.items()) + b"\xff"    # indefinite, as Zephyr's
        out = struct.pack(">BBHHBB", version << 3 | op | 1, flags, len(payload), group, sequence, command) + payload
        if (group, command) == (IMAGE, 1) and self.options.write_ms:
            self.free_at = max(self.free_at, time.monotonic()) + self.options.write_ms / 1000
            GLib.timeout_add(int((self.free_at - time.monotonic()) * 1000), self.send, out)
        else:
            self.send(out)

    def send(self, out):
        step = min(self.smp.mtu - 3, ble.VALUE_MAX)
        for at in range(0, len(out), step):
            self.smp.notify(out[at:at + step])
        return False

    # ---- group 0: the operating system

    def do_0_0(self, op, body):
        return {"r": body.get("d", "")}

    def do_0_5(self, op, body):
        if op != WRITE:
            raise Error(None, RC_NOT_SUPPORTED)
        GLib.timeout_add(250, self.reset)
        return {}

    def do_0_6(self, op, body):
        return {"buf_size": self.options.buf_size, "buf_count": self.options.buf_count}

    def do_0_7(self, op, body):
        return {"output": "Zephyr lab"}

    def do_0_8(self, op, body):
        return {"bootloader": "MCUboot"} if not body.get("query") else {"mode": 3}

    def reset(self):
        log("restarts")
        self.restart(self.boot)
        return False

    # ---- group 1: images

    def do_1_0(self, op, body):
        if op == WRITE:
            self.set_state(body)
        slots = []
        for slot in (0, 1):
            found = parse_image(self.load(f"slot-{slot}"))
            if not found or slot and "single" in self.kinds:
                continue
            entry = {"image": 0, "slot": slot, "version": found[0], "hash": found[1], "bootable": True}
            entry["pending"] = slot == 1 and self.pending
            entry["confirmed"] = slot == 0 and self.is_confirmed or slot == 1 and not self.is_confirmed
            entry["active"] = slot == 0
            entry["permanent"] = slot == 1 and self.pending and self.is_permanent
            slots.append(entry)
        return {"images": slots, "splitStatus": 0}

    def set_state(self, body):
        if "single" in self.kinds:
            raise Error(None, RC_NOT_SUPPORTED)
        want, confirm = body.get("hash"), body.get("confirm", False)
        running, other = parse_image(self.load("slot-0")), parse_image(self.load("slot-1"))
        if want is not None and len(want) != 32:
            raise Error(IMAGE, IMG_BAD_HASH)
        if want is None and confirm or want is not None and running and want == running[1] and confirm:
            if self.pending:
                raise Error(IMAGE, IMG_PENDING)
            self.counts["confirms"] += 1
            self.is_confirmed = True
            log("confirms", self.version)
        elif running and want == running[1]:
            raise Error(IMAGE, IMG_TEST_ACTIVE)
        elif not other or want != other[1]:
            raise Error(IMAGE, IMG_NO_SUCH_HASH)
        else:
            self.counts["tests"] += 1
            self.pending, self.is_permanent = True, bool(confirm)
            log("is to start", other[0])

    def do_1_1(self, op, body):
        if op != WRITE:
            raise Error(None, RC_NOT_SUPPORTED)
        off, data = body.get("off"), body.get("data", b"")
        if off is None:
            raise Error(IMAGE, IMG_NO_OFFSET)
        if off == 0:
            reply = self.begin(body, data)
            if reply is not None:
                return reply
        if self.upload is None:
            return {"off": 0}
        at = len(self.upload["data"])
        if off != at:
            self.counts["wrong_off"] += 1
            return {"off": at}
        if at + len(data) > self.upload["len"]:
            raise Error(IMAGE, IMG_OVERRUN)
        self.upload["data"] += data
        self.counts["bytes"] += len(data)
        return self.chunk_reply()

    def begin(self, body, data):
        """The first chunk: a new upload, or where that of the same digest stands."""
        if "len" not in body:
            self.upload = None
            raise Error(IMAGE, IMG_NO_LENGTH)
        if not self.is_confirmed:
            raise Error(IMAGE, IMG_NO_FREE_SLOT)
        if body["len"] > self.options.slot_bytes:
            raise Error(IMAGE, IMG_TOO_LARGE)
        if len(data) < 32:
            raise Error(IMAGE, IMG_SHORT_HEADER)
        if data[:4] != b"\x3d\xb8\xf3\x96":
            raise Error(IMAGE, IMG_BAD_MAGIC)
        sha = body.get("sha")
        if self.upload and sha and self.upload["sha"] == sha and self.upload["len"] == body["len"]:
            self.counts["resumed"] += 1
            self.offsets.append(len(self.upload["data"]))
            log("resumes at", len(self.upload["data"]))
            return self.chunk_reply()
        self.counts["uploads"] += 1
        self.upload = {"len": body["len"], "sha": sha, "data": b""}
        return None

    def chunk_reply(self):
        data = self.upload["data"]
        reply = {"off": len(data)}
        if len(data) == self.upload["len"]:
            if self.upload["sha"]:
                reply["match"] = hashlib.sha256(data).digest() == self.upload["sha"]
            if "rots" in self.kinds:
                data = data[:200] + bytes([data[200] ^ 1]) + data[201:]
            self.save("slot-0" if "single" in self.kinds else "slot-1", data)
            self.upload = None
            log("has all", len(data), "bytes")
        return reply

    def do_1_5(self, op, body):
        if not self.is_confirmed:
            raise Error(IMAGE, IMG_NO_FREE_SLOT)
        self.save("slot-1", b"")
        self.upload, self.pending = None, False
        self.counts["erases"] += 1
        return {}

    def do_1_6(self, op, body):
        return {"images": [{"image": 0, "slots": [{"slot": 0, "size": self.options.slot_bytes}, {"slot": 1, "size": self.options.slot_bytes}],
                            "max_image_size": self.options.slot_bytes}]}

    def status(self):
        return {"version": self.version, "confirmed": self.is_confirmed, "pending": self.pending, "offsets": self.offsets,
                "off": len(self.upload["data"]) if self.upload else 0, **self.counts}


def main():
    p = SmpNode.parser(__doc__.split("\n")[0])
    p.add_argument("--is", dest="kinds", default="", help="crashes, rots, single, v1; with commas")
    p.add_argument("--buf-size", type=int, default=2475)
    p.add_argument("--buf-count", type=int, default=4)
    p.add_argument("--write-ms", type=int, default=0, help="how long its flash memory takes for a chunk")
    p.add_argument("--slot-bytes", type=int, default=1 << 19)
    p.add_argument("--secure", action="store_true", help="the SMP characteristic is for encrypted links")
    SmpNode(p.parse_args()).run()


main()
