#!/usr/bin/python3
"""Make distribution packages for Nordic's firmware updates (DFU) over Bluetooth LE, as its own tool does: a zip of
manifest.json and, for each image, an init packet (.dat) and the image (.bin). For tests; the keys are made on the spot.

    nordic_package.py OUT.zip --application APP.bin [--key KEY.pem] [--version 2] [--hardware 52] [--softdevice 0x100]
    nordic_package.py OUT.zip --application APP.bin --legacy

Secure DFU: the init packet is a protobuf Packet{signed_command{command{op_code INIT, init}, ECDSA_P256_SHA256, r||s}}; the hash
of the image, r and s stand there last byte first, and what is signed are the bytes of `init`.
"""
import argparse
import hashlib
import io
import json
import struct
import sys
import zipfile

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

APPLICATION, SOFTDEVICE, BOOTLOADER, SOFTDEVICE_BOOTLOADER = range(4)
NAMES = ["application", "softdevice", "bootloader", "softdevice_bootloader"]
SHA256 = 3


def varint(v):
    out = bytearray()
    while True:
        out.append((v & 0x7F) | (0x80 if v > 0x7F else 0))
        v >>= 7
        if not v:
            return bytes(out)


def number(field, v):
    return varint(field << 3) + varint(v)


def data(field, b):
    return varint(field << 3 | 2) + varint(len(b)) + b


def init_command(kind, image, version=1, hardware=52, softdevices=(0x100,), sizes=None, hash_bytes=None, hash_type=SHA256, is_debug=False):
    """The bytes that are signed. sizes: softdevice, bootloader, application."""
    if sizes is None:
        sizes = [0, 0, 0]
        sizes[{APPLICATION: 2, SOFTDEVICE: 0, BOOTLOADER: 1, SOFTDEVICE_BOOTLOADER: 0}[kind]] = len(image)
    if hash_bytes is None:
        hash_bytes = hashlib.sha256(image).digest()[::-1]
    return (number(1, version) + number(2, hardware) + data(3, b"".join(varint(s) for s in softdevices)) + number(4, kind)
            + number(5, sizes[0]) + number(6, sizes[1]) + number(7, sizes[2])
            + data(8, number(1, hash_type) + data(2, hash_bytes)) + number(9, int(is_debug)))


def signature(key, message):
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "little") + s.to_bytes(32, "little")


def init_packet(init, key):
    """key None: not signed."""
    command = number(1, 1) + data(2, init)
    if key is None:
        return data(1, command)
    return data(2, data(1, command) + number(2, 0) + data(3, signature(key, init)))


def crc16(b):
    crc = 0xFFFF
    for octet in b:
        crc ^= octet << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def legacy_init_packet(image, version=0xFFFFFFFF, softdevices=(0xFFFE,)):
    return (struct.pack("<HHIH", 0xFFFF, 0xFFFF, version, len(softdevices)) + struct.pack(f"<{len(softdevices)}H", *softdevices)
            + struct.pack("<H", crc16(image)))


def archive(manifest, files, method=zipfile.ZIP_DEFLATED):
    """files: name -> bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in files.items():
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content, method)
        z.writestr(zipfile.ZipInfo("manifest.json", (2026, 1, 1, 0, 0, 0)), json.dumps({"manifest": manifest}, indent=4), method)
    return out.getvalue()


def package(images, key, version=1, hardware=52, softdevices=(0x100,), method=zipfile.ZIP_DEFLATED):
    """images: kind -> bytes, or (softdevice, bootloader) for both of them. Secure DFU."""
    manifest, files = {}, {}
    for kind, image in images.items():
        sizes = None
        if kind == SOFTDEVICE_BOOTLOADER:
            sizes = [len(image[0]), len(image[1]), 0]
            image = image[0] + image[1]
        name = NAMES[kind]
        manifest[name] = {"bin_file": name + ".bin", "dat_file": name + ".dat"}
        if sizes:
            manifest[name]["info_read_only_metadata"] = {"sd_size": sizes[0], "bl_size": sizes[1]}
        files[name + ".bin"] = image
        files[name + ".dat"] = init_packet(init_command(kind, image, version, hardware, softdevices, sizes), key)
    return archive(manifest, files, method)


def legacy_package(image, version=0xFFFFFFFF, method=zipfile.ZIP_DEFLATED):
    entry = {"bin_file": "application.bin", "dat_file": "application.dat",
             "init_packet_data": {"application_version": version, "device_revision": 65535, "device_type": 65535,
                                  "firmware_crc16": crc16(image), "softdevice_req": [65534]}}
    return archive({"application": entry, "dfu_version": 0.5},
                   {"application.bin": image, "application.dat": legacy_init_packet(image, version)}, method)


def public_key(key):
    """As a bootloader keeps it: x and y, each last byte first."""
    n = key.public_key().public_numbers()
    return n.x.to_bytes(32, "little") + n.y.to_bytes(32, "little")


def main():
    p = argparse.ArgumentParser(description="Make a package for Nordic DFU.")
    p.add_argument("out")
    p.add_argument("--application", required=True)
    p.add_argument("--key", help="PEM, P-256; made anew when the option is not given")
    p.add_argument("--public", help="write the public key here: 64 bytes, x and y, each last byte first")
    p.add_argument("--version", type=lambda s: int(s, 0), default=1)
    p.add_argument("--hardware", type=lambda s: int(s, 0), default=52)
    p.add_argument("--softdevice", type=lambda s: int(s, 0), action="append")
    p.add_argument("--legacy", action="store_true")
    a = p.parse_args()
    with open(a.application, "rb") as f:
        image = f.read()
    if a.legacy:
        content = legacy_package(image, a.version)
    else:
        if a.key:
            with open(a.key, "rb") as f:
                key = serialization.load_pem_private_key(f.read(), None)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        content = package({APPLICATION: image}, key, a.version, a.hardware, a.softdevice or [0x100])
        if a.public:
            with open(a.public, "wb") as f:
                f.write(public_key(key))
    with open(a.out, "wb") as f:
        f.write(content)


if __name__ == "__main__":
    sys.exit(main())
