"""A decoder of LoRaWAN's fragmented data blocks (TS004), written from that text alone, fed with our DATA frames and losses.

It shares nothing with src/codec/parity.c: fragments become integers, a row becomes a set of indices, the solving is
plain Gauss elimination. Removing sid8, the generation and the MIC of a DATA frame leaves a TS004 DataFragment:
CID 0x08, Index&N (FragIndex in bits 15:14, N in 13:0, little-endian), the fragment.

  ts004_decoder.py MCAST_ENCODE
"""
import random
import subprocess
import sys


def prbs23(start):
    """TS004, forward error correction appendix: a shift register of 23 bits with taps at bits 0 and 5."""
    b0, b1 = start & 1, (start & 32) // 32
    return start // 2 + (b0 ^ b1) * 2**22


def parity_matrix_line(n, m, version):
    """The indices (from 0) of the fragments in coded fragment n of a block of m."""
    extra = 1 if m & (m - 1) == 0 else 0
    line, drawn, x = set(), 0, 1 + 1001 * n
    while drawn < m // 2:
        r = 2**16
        while r >= m:
            x = prbs23(x)
            r = x % (m + extra)
        if version == 1 or r not in line:
            drawn += 1
        line.add(r)
    return line


class Session:
    """One FragSession: NbFrag, FragSize and Padding as FragSessionSetupReq gives them."""

    def __init__(self, nb_frag, frag_size, padding, version):
        self.m, self.size, self.padding, self.version = nb_frag, frag_size, padding, version
        self.solved = {}                    # index: fragment
        self.rows = {}                      # lowest index: (set of indices, value); the echelon form
        self.n_last = 0

    def message(self, data):
        assert data[0] == 0x08
        index_and_n = int.from_bytes(data[1:3], "little")
        n, fragment = index_and_n & 0x3FFF, data[3:]
        assert n > self.n_last, "counters rise"
        assert len(fragment) == self.size
        self.n_last = n
        value = int.from_bytes(fragment, "big")
        if n <= self.m:
            self.solved[n - 1] = value
        else:
            self.row(parity_matrix_line(n - self.m, self.m, self.version), value)
        return index_and_n >> 14

    def row(self, line, value):
        for i in [i for i in line if i in self.solved]:
            value ^= self.solved[i]
        line = {i for i in line if i not in self.solved}
        while line:
            first = min(line)
            if first not in self.rows:
                self.rows[first] = (line, value)
                return
            line = line ^ self.rows[first][0]
            value ^= self.rows[first][1]

    def finish(self):
        """The data block, or None while it cannot be solved."""
        if len(self.solved) + len(self.rows) < self.m:
            return None
        for first in sorted(self.rows, reverse=True):
            line, value = self.rows.pop(first)
            for i in line - {first}:
                value ^= self.solved[i]
            self.solved[first] = value
        block = b"".join(self.solved[i].to_bytes(self.size, "big") for i in range(self.m))
        assert not any(block[len(block) - self.padding:]), "padding is zero"
        return block[:len(block) - self.padding]


def run(encoder, draw, size, z, k, log2_e, version, loss, rows):
    """Decodes one object; returns rows used beyond the fragments lost, for each generation that lost any."""
    original = draw.randbytes(size)
    lines = subprocess.run([encoder, str(z), str(k), str(log2_e), str(version), str(rows)], input=original,
                           stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode().split("\n")
    got, extra, session, g, block = b"", [], None, -1, None
    lost = used = 0
    for line in lines + ["session 2 8 0"]:
        if line.startswith("session"):
            if session:
                assert block is not None, f"generation {g} of {size} bytes was not solved"
                got += block
            session, g, block = Session(*map(int, line.split()[1:]), version), g + 1, None
            lost = used = 0
        elif line and block is None:
            frame = bytes.fromhex(line)
            assert frame[0] == 0x08 and frame[1] == 0x5A and frame[2] == g % 256
            is_parity = int.from_bytes(frame[3:5], "little") & 0x3FFF > session.m
            if draw.random() < loss:
                lost += not is_parity
                continue
            used += is_parity
            assert session.message(frame[:1] + frame[3:]) == g & 3, "FragIndex is g mod 4"
            block = session.finish()
            if block is not None and lost:
                extra.append(used - lost)
    assert got == original, f"{size} bytes, Z {z}, K {k}, version {version}: decoded, and wrong"
    return extra


def main(encoder):
    draw, n = random.Random(20260101), 0
    for version in (1, 2):
        extra = []
        for size, z, k, log2_e, loss in (
                (1, 64, 512, 12, 0.3), (64, 64, 512, 12, 0.3), (65, 64, 512, 12, 0.3), (1000, 64, 512, 12, 0.1),
                (4097, 64, 64, 12, 0.2), (32768, 64, 512, 12, 0.1), (32769, 64, 512, 12, 0.1), (100000, 64, 512, 12, 0.05),
                (50000, 56, 256, 12, 0.2), (30000, 232, 256, 12, 0.1), (20000, 10, 48, 8, 0.3), (131072, 64, 512, 12, 0.1),
                (16384, 64, 128, 12, 1.0 / 3)):
            rows = int(2 * k * loss) + 60
            extra += run(encoder, draw, size, z, k, log2_e, version, loss, rows)
            n += 1
        assert len(extra) > 20 and sum(extra) / len(extra) < 4, extra
    # what was made with one version's rows is not what the other version's decoder gives
    object_ = draw.randbytes(32768)
    lines = subprocess.run([encoder, "64", "512", "12", "1", "120"], input=object_, stdout=subprocess.PIPE, check=True,
                           timeout=60).stdout.decode().split()[4:]
    session, block = Session(512, 64, 0, 2), None
    for line in (line for i, line in enumerate(lines) if i % 11):
        if block is None:
            session.message(bytes.fromhex(line)[:1] + bytes.fromhex(line)[3:])
            block = session.finish()
    assert block is not None and block != object_
    print(f"{n} objects decoded")


main(sys.argv[1])
