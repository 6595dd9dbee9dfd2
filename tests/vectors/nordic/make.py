#!/usr/bin/python3
"""Makes the packages in this folder, and the seeds in tests/fuzz/corpus: as nrfutil does, with Python's zipfile and python3-cryptography.

Secure DFU: the init packet is a protobuf Packet{signed_command{command{op_code INIT, init}, ECDSA_P256_SHA256, r||s}}; the hash of the
image, r and s stand there last byte first, and what is signed are the bytes of `init`. Signatures differ at every run."""
import hashlib
import io
import json
import struct
import pathlib
import zipfile

from cryptography.hazmat.primitives import hashes
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


def main():
    key = ec.derive_private_key(0x1234567890abcdef, ec.SECP256R1())
    app = bytes((i * i // 7) & 0xFF if i % 64 < 20 else 0xFF for i in range(3000))
    softdevice, bootloader = bytes(i * 3 & 0xFF for i in range(1500)), b"\xff" * 700
    here = pathlib.Path(__file__).resolve().parent
    corpus = here.parent.parent / "fuzz" / "corpus"
    small, stored = {APPLICATION: app[:200]}, zipfile.ZIP_STORED
    files = {
        here / "secure.zip": package({APPLICATION: app}, key, version=3),
        here / "both.zip": package({SOFTDEVICE_BOOTLOADER: (softdevice, bootloader), APPLICATION: app}, key, version=3),
        here / "legacy.zip": legacy_package(app),
        corpus / "zip" / "deflated": package({APPLICATION: app}, key),
        corpus / "zip" / "stored": package(small, key, method=stored),
        corpus / "nordic_dfu" / "secure": package(small, key, method=stored),
        corpus / "nordic_dfu" / "legacy": legacy_package(app[:200], method=stored),
        corpus / "nordic_dfu" / "init": b"I" + init_packet(init_command(APPLICATION, app), key),
        corpus / "nordic_dfu" / "select": b"R" + bytes.fromhex("600601001000000800000078563412"),
        corpus / "nordic_dfu" / "receipt": b"R" + bytes.fromhex("1100020000"),
        corpus / "nordic_dfu" / "entered": b"R" + bytes.fromhex("200101"),
    }
    for path, content in files.items():
        path.write_bytes(content)


main()
