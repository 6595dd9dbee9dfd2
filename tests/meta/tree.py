"""Rules on files: size, calls that are not made, marks of unfinished work, paths of one machine, the ledger."""
import re

from common import ROOT, finish, problem, read, sources, tracked, without_comments

LINES_MAX = 900
# One file on purpose: it is lifted out into firmware as it stands.
LINES_MAX_OF = {"src/node/mcast_receiver.c": 1600}
# Functions that are never called, and why. The exception is a file that may.
FORBIDDEN = [
    (r"\bcbor_load\s*\(", "CB-2: libcbor's tree loader is not for bytes from outside", None),
    (r"\b(strcpy|strcat)\s*\((?!\s*[^,()]+,\s*\")", "unbounded; only a literal may be copied so", None),
    (r"\b(sprintf|vsprintf|gets)\s*\(", "unbounded", None),
    (r"\b(atoi|atol|atoll)\s*\(", "does not tell mistakes; text_parse_u64()", None),
    (r"(?<!->)\b(rand|random|srand|drand48)\s*\(", "predictable; base/random.h", None),
    (r"\bsystem\s*\(|\bpopen\s*\(", "no shell", None),
    (r"\bcoap_context_set_block_mode\s*\([^)]*COAP_BLOCK_USE", "libcoap's block handling stays off", None),
]
TEXT = (".c", ".h", ".cc", ".py", ".sh", ".build", ".md", ".toml", ".txt", ".in", ".service", ".conf", ".catalog", ".1", ".5", ".7", ".8",
        ".json", ".js", ".css", ".html", ".yml", ".yaml", ".sql")


def check_sources():
    for name in sources(".c", ".h", ".cc"):
        text = read(name)
        if text.count("\n") > LINES_MAX_OF.get(name, LINES_MAX):
            problem(f"{name}: {text.count(chr(10))} lines; have two ideas met in it?")
        code = without_comments(text)
        for pattern, why, exception in FORBIDDEN:
            for match in re.finditer(pattern, code):
                if name != exception:
                    line = code.count("\n", 0, match.start()) + 1
                    problem(f"{name}:{line}: {match.group(0).rstrip('( ')}: {why}")
        if name.endswith(".h") and "#pragma once" not in text:
            problem(f"{name}: no #pragma once")


def check_marks():
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
    paths = re.compile("|".join("/" + part for part in ("work/", "root/", "home/[a-z]+/", "tmp/b-")))
    for name in tracked():
        if not name.endswith(TEXT) or "/vectors/" in name:
            continue
        for number, line in enumerate(read(name).splitlines(), 1):
            if marks.search(line):
                problem(f"{name}:{number}: {marks.search(line).group(0)}: unfinished")
            if paths.search(line):
                problem(f"{name}:{number}: {paths.search(line).group(0)}: a path of one machine")


def check_ledger():
    """Rows of STANDARDS.md: | id | state | file | test |; the files and tests named are there."""
    if not (ROOT / "STANDARDS.md").is_file():
        return 0
    n, ids = 0, set()
    for number, line in enumerate(read("STANDARDS.md").splitlines(), 1):
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 4 or not re.match(r"[A-Z]{2,5}-\d+", cells[0]):
            continue
        n += 1
        if cells[0] in ids:
            problem(f"STANDARDS.md:{number}: {cells[0]} stands twice")
        ids.add(cells[0])
        state = cells[1].split()[0].rstrip(":,;") if cells[1] else ""
        if state not in ("done", "partial", "no"):
            problem(f"STANDARDS.md:{number}: {cells[0]}: state {cells[1]!r}; done, partial or no would be right")
        for path in re.findall(r"`?((?:src|tests|man|conf|systemd|tools|bench)/[\w./-]+)`?", " ".join(cells[2:])):
            path = path.rstrip(".")
            if not any((ROOT / p).exists() for p in (path, path + ".c", path + ".h", path + ".py")):
                problem(f"STANDARDS.md:{number}: {cells[0]}: {path} is not there")
        if state == "done" and not cells[2]:
            problem(f"STANDARDS.md:{number}: {cells[0]}: done, and no file named")
    return n


def main():
    check_sources()
    check_marks()
    n = check_ledger()
    finish(f"files, and {n} rows of the ledger")


main()
