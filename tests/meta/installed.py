"""An installed tree is complete: each program starts or says why not, each page, unit and file is where its reader looks.

Argument: the DESTDIR that `meson install` filled (prefix /usr). Not a test of the build directory: tools/test calls it."""
import os
import pathlib
import re
import subprocess
import sys

from common import finish, problem, read, tracked

PROGRAMS = ["dormoused", "dormousectl", "dormouse-node"]
FILES = [
    "etc/dormouse/dormouse.toml",
    "usr/lib/systemd/system/dormouse.service",
    "usr/lib/systemd/catalog/dormouse.catalog",
    "usr/lib/sysusers.d/dormouse.conf",
    "usr/lib/tmpfiles.d/dormouse.conf",
    "usr/share/dbus-1/system.d/dormouse.conf",
    "usr/share/bash-completion/completions/dormousectl.bash",
]
root = pathlib.Path(sys.argv[1])


def pages():
    return [f"usr/share/man/man{name[-1]}/{name[4:]}" for name in tracked() if re.fullmatch(r"man/[\w.-]+\.[1-8]", name)]


def check_programs(found):
    version = re.search(r"version : '([^']+)'", read("meson.build")).group(1)
    for name in PROGRAMS:
        path = next((f for f in found if re.fullmatch(rf"usr/s?bin/{name}", f)), None)
        if not path:
            problem(f"{name} is not installed")
            continue
        r = subprocess.run([root / path, "--version"], capture_output=True, text=True, timeout=60)
        if r.returncode or version not in r.stdout:
            problem(f"{path} --version: exit {r.returncode}, {r.stdout.strip()!r} {r.stderr.strip()!r}")
        if b"\0" + str(root).encode() in (root / path).read_bytes():
            problem(f"{path} names the place where it was staged")


def check_unit(found):
    for path in re.findall(r"^Exec\w+=[-+!@]*(/\S+)", (root / FILES[1]).read_text(), flags=re.M):
        if path.startswith("/usr/") and "dormouse" in path and path[1:] not in found:
            problem(f"{FILES[1]}: {path} is not installed")


def main():
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    for name in FILES + pages():
        if name not in found:
            problem(f"{name} is not installed")
    check_programs(found)
    if FILES[1] in found:
        check_unit(found)
    for name in sorted(found):
        if re.search(r"\.(a|h|pc)$", name):
            problem(f"{name}: there is no library to develop with, so nothing of one is installed")
        if os.stat(root / name).st_mode & 0o022:
            problem(f"{name}: others may write it")
    finish(f"{len(found)} installed files")


main()
