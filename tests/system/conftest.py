"""Fixtures: each test has its own scratch directory, daemon and vendor; what is started is ended, and must end well."""
import os
import shutil
import tempfile

import pytest

import lib
import pki
import web


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.call_report = report


class World:
    """What one test has started; ended in reverse order."""

    def __init__(self, folder):
        self.dir, self.things = folder, []

    def add(self, thing):
        self.things.append(thing)
        return thing

    def daemon(self, config=None, name="gw", start=True, **kw):
        d = self.add(lib.Daemon(self.dir, config, name, **kw))
        return d.start() if start else d

    def nodes(self, daemon, count=1, start=True, wait=True, **kw):
        n = self.add(lib.Nodes(daemon, self.dir, count, **kw))
        return n.start(wait) if start else n

    def pki(self, name="vendor", **kw):
        return pki.Pki(self.dir, name, **kw)

    def ocsp(self):
        return self.add(web.Ocsp())

    def web(self, authority=None):
        return self.add(web.Web(authority))

    def vendor(self, authority):
        v = web.Vendor(self.dir, authority)
        self.add(v.web)
        return v

    def site(self, **kw):
        return Site(self, **kw)

    def end(self, failed):
        problems = []
        for t in reversed(self.things):
            try:
                t.stop() if hasattr(t, "stop") else t.down()
            except Exception as e:  # every other thing must be ended all the same
                problems.append(e)
        for t in reversed(self.things):
            if hasattr(t, "kill9"):
                t.kill9()
        if problems and not failed:
            raise problems[0]


def run_world(failed):
    folder = tempfile.mkdtemp(prefix="dormouse-t-")  # short: a Unix socket lives in it
    os.chmod(folder, 0o755)
    w = World(folder)
    yield w
    bad = failed()
    try:
        w.end(bad)
        if not bad and not os.environ.get("DORMOUSE_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if bad:
            for t in w.things:
                if isinstance(t, (lib.Daemon, lib.Nodes)):
                    print(f"\n---- end of {t.log_file}\n{t.log_text()[-6000:]}")


@pytest.fixture
def world(request):
    def failed():
        report = getattr(request.node, "call_report", None)
        return report is not None and report.failed
    yield from run_world(failed)


@pytest.fixture(scope="module")
def module_world(request):
    """For tests that share a daemon."""
    before = request.session.testsfailed
    yield from run_world(lambda: request.session.testsfailed > before)


class Site:
    """The usual: a vendor whose signer's certificate names an OCSP responder that works, a daemon that polls the vendor
    each second and trusts its root."""

    def __init__(self, world, config=None, source=None, anchor=None, start=True, ocsp=True):
        self.world = world
        self.ocsp = world.ocsp() if ocsp else None
        self.pki = world.pki(ocsp_url=self.ocsp.url if ocsp else None)
        if ocsp:
            self.ocsp.serve_for(self.pki, self.pki.signer)
        self.vendor = world.vendor(self.pki)
        tables = {"source": [self.source_row(**(source or {}))], "anchor": [self.anchor_row(**(anchor or {}))]}
        tables.update(config or {})
        self.daemon = world.daemon(tables, start=start)

    def source_row(self, **over):
        return {"name": "vendor", "kind": "https", "url": self.vendor.url(), "ca_file": self.pki.root_file, "poll_s": 1, "jitter_s": 0,
                "timeout_s": 2, "backoff_max_s": 1, "allow_private": True, "policy": "auto", **over}

    def anchor_row(self, **over):
        return {"name": "vendor", "file": self.pki.root_file, "vendor_ids": [str(lib.vendor_uuid())], "hosts": ["127.0.0.1"], **over}

    def nodes(self, count=1, **kw):
        kw.setdefault("anchor", self.pki.root_file)
        return self.world.nodes(self.daemon, count, **kw)


@pytest.fixture
def make_site(world):
    return world.site


@pytest.fixture
def site(world):
    return Site(world)


@pytest.fixture
def daemon(world):
    """A daemon without sources."""
    return world.daemon()


@pytest.fixture(scope="module")
def shared_daemon():
    """One daemon for all tests of a file that do not get into each other's way."""
    folder = tempfile.mkdtemp(prefix="dormouse-t-")
    os.chmod(folder, 0o755)
    d = lib.Daemon(folder).start()
    yield d
    d.stop()
    shutil.rmtree(folder, ignore_errors=True)
