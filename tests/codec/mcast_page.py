"""dormouse-multicast(7) keeps its word: its reference C gives the rows of the vectors, the vectors it prints are those of the
files, its geometry examples follow from its formulas, its MIC from its definition.

  mcast_page.py SOURCE-DIR COMPILER...
"""
import ctypes
import hashlib
import hmac
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
VECTORS = ROOT / "tests/vectors/mcast"
ESCAPES = {r"\-": "-", r"\(ha": "^", r"\(ti": "~", r"\(aq": "'", r"\e": "\\"}


def displays():
    """The literal displays of the page, as a reader sees them."""
    text = (ROOT / "man/dormouse-multicast.7").read_text()
    return [re.sub(r"\\(?:-|e|\([a-z]{2})", lambda m: ESCAPES[m.group(0)], d)
            for d in re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", text, re.M | re.S)]


def lines(name):
    return [line for line in (VECTORS / name).read_text().splitlines() if not line.startswith("#")]


def display_with(word):
    found = [d for d in displays() if word in d]
    assert len(found) == 1, f"{len(found)} displays with {word}"
    return found[0]


def reference(compiler, folder):
    source, library = folder / "row.c", folder / "row.so"
    source.write_text("#include <stdint.h>\n#include <string.h>\n" + display_with("void mcd_row"))
    subprocess.run([*compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
    return ctypes.CDLL(str(library))


def check_rows(lib):
    for line in lines("rows.txt"):
        head, last = line.split(";")
        alg, m, n, weight, *first = map(int, head.split())
        row = (ctypes.c_uint8 * ((m + 7) // 8))()
        lib.mcd_row(m, n, alg, row)
        bits = [i for i in range(m) if row[i // 8] >> i % 8 & 1]
        last = list(map(int, last.split()))
        assert len(bits) == weight and bits[:len(first)] == first and bits[len(bits) - len(last):] == last, line
        shown = " ".join(map(str, first or last))
        rows = display_with("weight 53")
        assert shown in rows.replace(",", ""), f"the page does not show {shown}"


def check_printed():
    for name in ("frames.txt", "messages.txt"):
        words = [line.split() for line in lines(name)]
        shown = "".join(display_with(words[0][1][:60]).split())
        assert shown == "".join(a + b for a, b in words), name


def check_mic():
    words = dict(re.findall(r"^(\w+(?: key)?)  +([0-9a-f ]+)$", display_with("group key  "), re.M))
    key, sid = bytes.fromhex(words["group key"]), bytes.fromhex(words["sid"])
    prk = hmac.new(sid, key, hashlib.sha256).digest()
    mk = hmac.new(prk, b"mcd1-mic\x01", hashlib.sha256).digest()[:16]
    assert mk.hex() == words["MK"]
    assert words["frame"].replace(" ", "") == words["DATA"].replace(" ", "") + words["CMAC"][:8]


def cut(size, z, k, e):
    up = lambda a, b: -(-a // b)
    s, per = up(size, e), max(1, k * z // e)
    g = up(s, per)
    q, rem = divmod(s, g)
    for i in range(g):
        offset = e * (i * q + min(i, rem))
        length = min(e * (q + (i < rem)), size - offset)
        yield offset, length, max(2, up(length, z))


def check_geometry():
    text = display_with("offset, length, M")
    n = 0
    for row in re.findall(r"^(\d+ .*(?:\n {9,}.*)*)", text, re.M):
        size, z, k, e, g, *rest = row.split(None, 5)
        generations = list(cut(int(size), int(z), int(k), int(e)))
        assert len(generations) == int(g)
        for triple in re.findall(r"(\d+), (\d+), (\d+)", rest[0]):
            assert tuple(map(int, triple)) in generations, triple
            n += 1
    assert n >= 7


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_rows(reference(sys.argv[2:], pathlib.Path(folder)))
    check_printed()
    check_mic()
    check_geometry()
    print("the page and the vectors agree")


main()
