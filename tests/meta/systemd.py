"""The unit is well-formed and tightly closed; sysusers, tmpfiles and the catalog are understood by systemd's own tools.

Arguments: the directory where the build put the unit. Tools that are missing are named, and a run that could
check nothing counts as skipped."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from common import ROOT, events, finish, problem, skip

EXPOSURE_MAX = 2.0
checked = []


def tool(name):
    path = shutil.which(name)
    if not path:
        print(f"{name} is missing: NOT checked with it")
    return path


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def check_exposure(unit):
    analyze = tool("systemd-analyze")
    if not analyze:
        return
    r = run(analyze, "security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", r.stdout)
    if not found:
        print(f"systemd-analyze security could not judge: NOT checked\n{r.stderr}")
        return
    checked.append("exposure " + found.group(1))
    if float(found.group(1)) > EXPOSURE_MAX:
        problem(f"exposure {found.group(1)} is over {EXPOSURE_MAX}\n{r.stdout}")


def check_unit(unit, scratch):
    """With programs that exist everywhere in place of ours, which is not installed while testing."""
    analyze = tool("systemd-analyze")
    if not analyze:
        return
    copy = scratch / "dormouse.service"
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.M))
    r = run(analyze, "verify", "--man=no", "--recursive-errors=no", str(copy))
    lines = [line for line in r.stderr.splitlines() if "dormouse" in line]
    if r.returncode and not lines:
        print(f"systemd-analyze verify could not run: NOT checked\n{r.stderr}")
        return
    checked.append("verify")
    for line in lines:
        problem(line)


def check_catalog(scratch):
    journalctl = tool("journalctl")
    if not journalctl:
        return
    folder = scratch / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (scratch / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(ROOT / "systemd/dormouse.catalog", folder)
    r = run(journalctl, f"--root={scratch}", "--update-catalog")
    if r.returncode or "dormouse.catalog" in r.stderr:
        problem(f"journalctl --update-catalog: {r.stderr.strip()}")
        return
    listed = run(journalctl, f"--root={scratch}", "--list-catalog").stdout
    for name, _, id_ in events():
        if name != "EV_GENERIC" and listed and id_ not in listed:
            problem(f"the catalog that systemd built lacks {name} ({id_})")
    checked.append("catalog")


def check_sysusers(scratch):
    sysusers = tool("systemd-sysusers")
    if not sysusers:
        return
    (scratch / "etc").mkdir(exist_ok=True)
    r = run(sysusers, f"--root={scratch}", str(ROOT / "systemd/dormouse.sysusers"))
    passwd = scratch / "etc/passwd"
    if r.returncode or not passwd.is_file() or "dormouse:" not in passwd.read_text():
        problem(f"systemd-sysusers: {r.stderr.strip()}")
        return
    checked.append("sysusers")


def check_tmpfiles(scratch):
    tmpfiles = tool("systemd-tmpfiles")
    if not tmpfiles:
        return
    r = run(tmpfiles, f"--root={scratch}", "--create", str(ROOT / "systemd/dormouse.tmpfiles"))
    for line in r.stderr.splitlines():
        if "dormouse.tmpfiles:" in line:
            problem(f"systemd-tmpfiles: {line}")
    checked.append("tmpfiles")


def main():
    unit = pathlib.Path(sys.argv[1]) / "dormouse.service"
    if "@" in re.sub(r"SystemCallFilter=.*|#.*", "", unit.read_text()):
        problem("dormouse.service: something is not filled in")
    check_exposure(unit)
    with tempfile.TemporaryDirectory(prefix="dormouse-systemd-") as name:
        scratch = pathlib.Path(name)
        check_unit(unit, scratch)
        check_catalog(scratch)
        check_sysusers(scratch)
        check_tmpfiles(scratch)
    if not checked and not sys.exc_info()[0]:
        skip("no tool of systemd could judge anything here")
    finish(", ".join(checked))


main()
