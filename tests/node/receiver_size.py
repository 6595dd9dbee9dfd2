"""The multicast receiver as firmware sees it: alone in a link, with what the linker's map says of its memory (MCD-17).

Argument: the source directory. A compiler for Cortex-M or of 32 bits is taken where there is one (no C library of it is needed),
else the machine's own: its pointers are larger, so what fits there fits everywhere."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1])
RAM_MAX, STACK_MAX, CODE_MAX = 4096, 400, 20 * 1024
ALLOWED = {"memcpy", "memset", "memcmp"}       # and what a compiler calls for itself: __aeabi_..., __udivdi3
STRING_H = """#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
"""
FIRMWARE = '#include "node/mcast_receiver.h"\nstruct mcast_receiver receiver;\n'
COMPILERS = [
    ("Cortex-M3", ["clang", "--target=thumbv7m-none-eabi", "-mthumb"], ["ld.lld"]),
    ("32 bits", ["gcc", "-m32", "-fno-pic"], ["ld", "-m", "elf_i386"]),
    ("this machine", ["cc", "-fno-pic"], ["ld"]),
]


def run(*args, **kwargs):
    return subprocess.run(args, check=True, capture_output=True, text=True, timeout=60, **kwargs).stdout


def measure(name, cc, ld, folder):
    flags = ["-std=gnu17", "-Os", "-ffreestanding", "-fno-common", "-fno-stack-protector", f"-I{folder}", f"-I{SOURCE / 'src'}", "-c"]
    core, firmware, image = folder / "core.o", folder / "firmware.o", folder / "image"
    stack_usage = [] if cc[0] == "clang" else ["-fstack-usage"]
    run(*cc, *flags, *stack_usage, str(SOURCE / "src/node/mcast_receiver.c"), "-o", str(core), cwd=folder)
    run(*cc, *flags, str(folder / "firmware.c"), "-o", str(firmware), cwd=folder)
    run(*ld, "-e", "0", "--unresolved-symbols=ignore-all", "-Map", str(folder / "map"), str(core), str(firmware), "-o", str(image))
    map_text = (folder / "map").read_text()
    foreign = {s for s in run("nm", "-u", str(core)).split() if s != "U"}
    foreign = {s for s in foreign if s not in ALLOWED and not s.startswith("__")}
    if foreign:
        sys.exit(f"{name}: the receiver needs {sorted(foreign)}")
    # "  .bss  0x... 0xf34 .../firmware.o" (ld) or "  VMA LMA f34 4 .../firmware.o:(.bss)" (lld)
    ram = [int(m.group(1), 16) for m in re.finditer(r"\.bss[^\n]*?0x[0-9a-f]+\s+0x([0-9a-f]+)\s[^\n]*firmware\.o", map_text)] \
        or [int(m.group(1), 16) for m in re.finditer(r"^\s*[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)\s+\d+\s+[^\n]*firmware\.o:\(\.bss", map_text, re.M)]
    sections = run("size", "-A", str(core))
    code = sum(int(m.group(1)) for m in re.finditer(r"^\.(?:text|rodata)\S*\s+(\d+)", sections, re.M))
    own = sum(int(m.group(1)) for m in re.finditer(r"^\.(?:data|bss)\S*\s+(\d+)", sections, re.M))
    stack = 0
    if (folder / "core.su").is_file():
        stack = max(int(line.split("\t")[1]) for line in (folder / "core.su").read_text().splitlines())
        (folder / "core.su").unlink()
    print(f"{name}: RAM {ram} bytes, code {code} bytes, static data {own} bytes, largest stack frame {stack or '?'} bytes")
    if len(ram) != 1 or ram[0] > RAM_MAX or own != 0 or stack > STACK_MAX or code > CODE_MAX:
        sys.exit(f"{name}: over {RAM_MAX} bytes of RAM, {STACK_MAX} of a stack frame, {CODE_MAX} of code, or static data")


def main():
    n = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "string.h").write_text(STRING_H)
        (folder / "firmware.c").write_text(FIRMWARE)
        for title, cc, ld in COMPILERS:
            if not shutil.which(cc[0]) or not shutil.which(ld[0]):
                continue
            (folder / "probe.c").write_text("int probe;\n")
            if subprocess.run([*cc, "-c", "probe.c", "-o", "probe.o"], cwd=folder, capture_output=True, check=False).returncode != 0:
                continue
            measure(title, cc, ld, folder)
            n += 1
    if n == 0:
        sys.exit("no compiler")


main()
