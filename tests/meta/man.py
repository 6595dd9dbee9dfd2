"""Man pages render without a warning; dormouse.toml(5) knows every key of the schema and its default.

Arguments: the program that lists the keys (test-config-print)."""
import re
import shutil
import subprocess
import sys

from common import ROOT, finish, problem, read, tracked


def pages():
    return [name for name in tracked() if re.fullmatch(r"man/[\w.-]+\.[1-8]", name)]


def check_installed():
    for name in pages():
        if f"'{name[4:]}'" not in read("man/meson.build"):
            problem(f"{name}: not in man/meson.build, so not installed")


def check_rendering():
    mandoc, groff = shutil.which("mandoc"), shutil.which("groff")
    for name in pages():
        if mandoc:
            r = subprocess.run([mandoc, "-T", "lint", "-W", "warning", str(ROOT / name)], capture_output=True, text=True)
            for line in r.stdout.splitlines():
                problem(f"{name}: {line.split(':', 2)[-1]}")
        if groff:
            r = subprocess.run([groff, "-mandoc", "-ww", "-z", str(ROOT / name)], capture_output=True, text=True)
            for line in r.stderr.splitlines():
                problem(f"{name}: groff: {line}")
    if not mandoc and not groff:
        print("neither mandoc nor groff: rendering NOT checked")


def check_keys(program):
    """Each key stands as ".It Ic KEY" below ".Ss TABLE", followed by its default."""
    wanted = {}
    for line in subprocess.run([program, "--keys"], capture_output=True, text=True, check=True).stdout.splitlines():
        path, default, restart = line.split("\t")
        wanted[path] = (default, restart)
    table, found = None, {}
    lines = read("man/dormouse.toml.5").splitlines()
    for i, line in enumerate(lines):
        section = re.match(r"\.Ss (.*)", line)
        if line.startswith(".Sh"):
            table = None
        elif section:
            name = re.search(r"\[+(\w+)\]+", section.group(1))
            table = name.group(1) + "." if name else ""
        item = re.match(r"\.It Ic (\w+)$", line)
        if item and table is not None:
            found[table + item.group(1)] = " ".join(lines[i + 1:i + 14])
    for path, (default, restart) in wanted.items():
        if path not in found:
            problem(f"man/dormouse.toml.5: {path} is missing")
            continue
        text = found[path].split(".It Ic")[0]
        shown = re.sub(r"\\&|\\(?=-)", "", text).replace('""', "'")
        if default not in ('""', "[]") and not all(word in shown for word in re.findall(r'[^\s\[\],"]+', default)):
            problem(f"man/dormouse.toml.5: {path}: the default {default} is not told")
        if (".Em restart" in text) != bool(restart):
            problem(f"man/dormouse.toml.5: {path}: {'needs' if restart else 'does not need'} a restart, and the page says otherwise")
    for path in found:
        if path not in wanted:
            problem(f"man/dormouse.toml.5: {path} is no key")
    return len(wanted)


def main():
    check_installed()
    check_rendering()
    n = check_keys(sys.argv[1])
    finish(f"{len(pages())} man pages, {n} keys")


main()
