"""Packages for Nordic's DFU, as nrfutil makes them: a zip file with a manifest, an init packet and the firmware."""
import hashlib
import io
import json
import subprocess
import tempfile
import zipfile


def crc16(data, crc=0xffff):
    """CCITT, as Nordic's Legacy DFU has it."""
    for b in data:
        crc = (crc >> 8 | crc << 8) & 0xffff
        crc ^= b
        crc ^= (crc & 0xff) >> 4
        crc ^= crc << 12 & 0xffff
        crc ^= (crc & 0xff) << 5
    return crc


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def der_integers(der):
    """r and s of an ECDSA signature, 32 bytes each, lowest byte first."""
    out, at = b"", 2
    for _ in range(2):
        n = der[at + 1]
        out += der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0")[::-1]
        at += 2 + n
    return out


def init_packet(firmware, version, key=None, hardware=52):
    """key: of the signature, PEM file; without one the packet is not signed."""
    digest = field(1, 3) + field(2, hashlib.sha256(firmware).digest()[::-1])
    init = field(1, version) + field(2, hardware) + field(3, b"\x00") + field(4, 0) + field(5, 0) + field(6, 0) + field(7, len(firmware)) + field(8, digest)
    command = field(1, 1) + field(2, init)
    if key is None:
        return field(1, command)
    with tempfile.NamedTemporaryFile() as f:
        f.write(init)                                          # the InitCommand alone, not what is around it
        f.flush()
        der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key, f.name], check=True, capture_output=True).stdout
    return field(2, field(1, command) + field(2, 0) + field(3, der_integers(der)))


def zipped(dat, firmware, more):
    out = io.BytesIO()
    manifest = {"manifest": {"application": {"bin_file": "app.bin", "dat_file": "app.dat", **more}}}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in (("app.bin", firmware), ("app.dat", dat), ("manifest.json", json.dumps(manifest))):
            z.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def secure(firmware, version, key=None):
    return zipped(init_packet(firmware, version, key), firmware, {})


def legacy(firmware, version):
    """Device type and revision, version, SoftDevices, and a CRC-16 of the firmware: no signature."""
    crc = crc16(firmware)
    dat = b"\xff\xff\xff\xff" + version.to_bytes(4, "little") + b"\x01\x00\xfe\xff" + crc.to_bytes(2, "little")
    more = {"init_packet_data": {"application_version": version, "device_revision": 65535, "device_type": 65535, "firmware_crc16": crc, "softdevice_req": [65534]}}
    return zipped(dat, firmware, more)
