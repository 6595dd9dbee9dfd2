"""src/layers.txt is law: a folder includes only what its line says; outside libraries stay in their home."""
import re

from common import ROOT, finish, problem, read, sources

# Which header belongs to which library, and where it may be included: folders ("io/") or single files.
HOMES = [
    (r"coap3/", ["io/"]),
    (r"event2/", ["io/"]),
    (r"curl/", ["io/"]),
    (r"sqlite3\.h", ["store/"]),
    (r"jansson\.h", ["codec/json.c"]),
    (r"cbor\.h|cbor/", ["codec/cbor.c"]),
    (r"zlib\.h", ["codec/zip.c"]),
    (r"openssl/", ["base/digest.c", "base/mac.c", "trust/", "io/", "store/"]),
    (r"systemd/", ["base/log.c", "io/", "radio/"]),
    (r"toml\+\+/", ["config/toml.cc"]),
    (r"pthread\.h|threads\.h", ["io/", "store/"]),
]


def layers():
    allowed = {}
    for line in read("src/layers.txt").splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, _, rest = line.partition(":")
            allowed[name.strip()] = rest.split()
    return allowed


def check_layers(allowed):
    seen = set()
    for name, uses in allowed.items():  # a line may only name lines above it: that makes it acyclic
        for used in uses:
            if used not in seen:
                problem(f"src/layers.txt: {name}: uses {used}, which does not stand above it")
        seen.add(name)
    for folder in (ROOT / "src").iterdir():
        if folder.is_dir() and folder.name not in allowed:
            problem(f"src/layers.txt: no line for src/{folder.name}")


def check_file(name, allowed):
    _, folder, rest = name.split("/", 2)
    for number, line in enumerate(read(name).splitlines(), 1):
        ours = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        theirs = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        if ours:
            target = ours.group(1)
            if "/" not in target:
                problem(f'{name}:{number}: "{target}": include by folder')
            elif target.split("/")[0] != folder and target.split("/")[0] not in allowed.get(folder, []):
                problem(f'{name}:{number}: "{target}": src/layers.txt does not let {folder} see {target.split("/")[0]}')
            elif not target.endswith(".inc") and not (ROOT / "src" / target).is_file():
                problem(f'{name}:{number}: "{target}": no such file')
        if theirs:
            for pattern, homes in HOMES:
                if re.match(pattern, theirs.group(1)) and not any(f"{folder}/{rest}".startswith(h) for h in homes):
                    problem(f"{name}:{number}: <{theirs.group(1)}> has its home in {', '.join(homes)}")


def main():
    allowed = layers()
    check_layers(allowed)
    files = sources(".c", ".h", ".cc")
    for name in files:
        if name.count("/") >= 2:
            check_file(name, allowed)
    finish(f"includes of {len(files)} files")


main()
