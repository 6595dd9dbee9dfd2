"""What the checks of the tree share: where it is, its files, and one way to report."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIP = 77  # meson's exit status for a skipped test
problems = []


def problem(text):
    problems.append(text)


def finish(what):
    """Print the problems, or what was found to be in order, and exit."""
    for text in problems:
        print(text)
    print(f"{len(problems)} problem(s)" if problems else f"in order: {what}")
    sys.exit(1 if problems else 0)


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(SKIP)


def tracked():
    """Files under version control, or all files where there is none (a source archive)."""
    try:
        out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True).stdout
        names = [name for name in out.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
    return [name for name in names if (ROOT / name).is_file()]


def sources(*suffixes, under="src"):
    return [name for name in tracked() if name.startswith(under + "/") and name.endswith(suffixes)]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def without_comments(text):
    """C text with comments and the insides of strings blanked, lines kept."""
    def blank(match):
        s = match.group(0)
        if s.startswith("/"):
            return re.sub(r"[^\n]", " ", s)
        return s[0] + " " * (len(s) - 2) + s[-1]

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def events():
    """(enum name, slug, message id) of each row of base/events.h."""
    return re.findall(r'X\((EV_\w+), "([^"]*)", "([^"]*)"\)', read("src/base/events.h"))
