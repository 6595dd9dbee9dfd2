"""A vendor's server that misbehaves: a clear error where operators look, little memory, and recovery by itself."""
import os
import re
import time

import pytest

import lib
import web

GROWTH_MAX = 24 << 20  # of the daemon's memory, whatever a server sends


class Memory:
    """The most memory the daemon took while the block ran; sanitizers keep freed memory, so nothing is asked of them."""

    def __init__(self, daemon):
        self.daemon = daemon

    def __enter__(self):
        self.daemon.reset_peak()
        self.before = self.daemon.memory("VmRSS")

    def __exit__(self, kind, *_):
        if kind is None and not lib.is_sanitized():
            assert self.daemon.memory("VmHWM") - self.before < GROWTH_MAX


@pytest.fixture(scope="module")
def shared(module_world):
    """One daemon for all: each case misbehaves, and then the vendor is good again."""
    site = module_world.site(config={"cache": {"envelope_max_bytes": 1 << 20, "image_max_bytes": 4 << 20}},
                             source={"timeout_s": 1})
    site.sequence = 1
    site.vendor.publish(1, vendor=lib.VENDOR, model="nobody")
    site.node = site.nodes(1)
    site.daemon.wait_update(sequence=1, state="available")     # what was published before the first case is no case's
    return site


def recovers(site):
    site.sequence += 1
    site.vendor.publish(site.sequence)
    site.daemon.post("sources/vendor/poll")
    site.daemon.wait_source(True)
    site.node.wait_sequence(site.sequence)
    lib.wait_for(lambda: not site.daemon.items("jobs?state=open"), "the job is confirmed")
    assert site.daemon.source()["failures"] == 0 and not site.daemon.source()["error"]


ENVELOPE_TROUBLE = {
    "says nothing": (web.silent, r"not finished within 1000 ms|nothing received for"),
    "stalls at once": (web.stalls(b"a" * 1000), r"not finished within 1000 ms|nothing received for"),
    "stalls half way": (web.stalls(b"a" * 1000, 500), r"not finished within 1000 ms|nothing received for"),
    "drips": (web.slowly(b"a" * 100000, 1000, 0.05), r"not finished within 1000 ms|nothing received for"),
    "truncates": (web.truncates(b"a" * 10000, 5000), r"closed|outstanding|transfer"),
    "says less than it sends": (web.lies(b"a" * 10000, -5), r"Content-Length|length|Invalid"),
    "announces too much": (web.lies(b"a", 100 << 30), r"announced 107374182400 bytes, 1048576 are allowed"),
    "sends 100 GB": (web.endless(100 << 30), r"107374182400 bytes, 1048576 are allowed"),
    "sends without end": (web.endless(), r"more than the 1048576 bytes"),
    "sends headers without end": (web.endless_headers, r"header"),
    "speaks no HTTP": (web.garbage, r"HTTP|[Rr]eceived|weird|version"),
    "fails": (web.answers(500), r"answers 500"),
    "is gone": (web.answers(404), r"answers 404"),
    "is not allowed": (web.answers(403), r"answers 403"),
    "fails with a long text": (lambda h: web.endless()(h), r"more than the 1048576 bytes"),
    "redirects to http": (web.redirects("http://127.0.0.1:9/latest.suit"), r"redirected from https to an address that is refused"),
    "redirects to a file": (web.redirects("file:///etc/passwd"), r"refused|redirect"),
    "redirects in a circle": (web.redirects("/latest.suit"), r"more than \d+ redirects"),
    "redirects to nowhere": (lambda h: h.reply(302), r"leads nowhere"),
    "compresses": (lambda h: h.reply(200, b"x" * 10, [("Content-Encoding", "gzip")]), r"content coding"),
    "gives two lengths": (lambda h: h.reply(200, b"x" * 10, [("Content-Length", "10"), ("Content-Length", "11")]), r"Content-Length|length"),
}


@pytest.mark.parametrize("what", ENVELOPE_TROUBLE)
def test_a_server_that(shared, what):
    act, error = ENVELOPE_TROUBLE[what]
    updates = len(shared.daemon.items("updates"))
    with Memory(shared.daemon):
        shared.vendor.web.put("latest.suit", act)
        shared.daemon.post("sources/vendor/poll")
        s = shared.daemon.wait_source(False, error)
    assert s["failures"] >= 1 and shared.vendor.url() in s["error"]
    problems = shared.daemon.api("health")
    assert problems[0] == 503 and any(p["what"] == "vendor" and p["text"] for p in problems[1]["problems"])
    assert len(shared.daemon.items("updates")) == updates
    recovers(shared)


def test_a_server_that_is_down_and_comes_back(shared):
    shared.vendor.web.down()
    shared.daemon.wait_source(False, r"[Cc]onnect|refused")
    shared.vendor.web.up()
    recovers(shared)


def test_errors_are_told_once_and_counted(shared):
    since = len(shared.daemon.log_text())
    shared.vendor.web.put("latest.suit", web.answers(500))
    lib.wait_for(lambda: shared.daemon.source()["failures"] >= 3, "it fails three times")
    recovers(shared)
    assert len(re.findall(r"source vendor: .*answers 500", shared.daemon.log_text()[since:])) == 1


IMAGE_TROUBLE = {
    "stalls half way": lambda image: web.stalls(image, len(image) // 2),
    "truncates": lambda image: web.truncates(image, len(image) // 2),
    "announces too much": lambda image: web.lies(image, 100 << 30),
    "sends 100 GB": lambda image: web.endless(100 << 30),
    "sends without end": lambda image: web.endless(),
    "speaks no HTTP": lambda image: web.garbage,
    "fails": lambda image: web.answers(500),
    "is gone": lambda image: web.answers(404),
    "redirects to http": lambda image: web.redirects("http://127.0.0.1:9/x"),
    "is one byte short": lambda image: lambda h: h.serve(image[:-1]),
    "is one byte long": lambda image: lambda h: h.serve(image + b"\0"),
    "is empty": lambda image: lambda h: h.serve(b""),
}


@pytest.mark.parametrize("what", IMAGE_TROUBLE)
def test_an_image_whose_server(shared, what):
    """Told at the update; the image itself comes as soon as the server is good."""
    shared.sequence += 1
    n = shared.sequence
    env, image, name = shared.vendor.envelope(n, image=lib.image_bytes(1 << 20, n))
    shared.vendor.web.put(name, IMAGE_TROUBLE[what](image))
    with Memory(shared.daemon):
        shared.vendor.web.put("latest.suit", env)
        shared.daemon.post("sources/vendor/poll")
        u = shared.daemon.wait_update(sequence=n, reason=r"payload", test=lambda u: u["state"] in ("held", "verified"))
    assert not shared.daemon.items(f"jobs?update={u['id']}")
    shared.daemon.wait_log(r"payload " + re.escape(shared.vendor.url(name)) + r": .*tried again in \d+ s")
    shared.vendor.web.put(name, image)
    shared.node.wait_sequence(n)
    lib.wait_for(lambda: not shared.daemon.items("jobs?state=open"), "the job is confirmed")


def downloaded(site):
    """Bytes of the partial downloads on disk."""
    total = 0
    for folder, _, files in os.walk(site.daemon.state):
        total += sum(os.path.getsize(os.path.join(folder, f)) for f in files if "part" in f or "part" in os.path.basename(folder))
    return total


def test_an_image_over_the_limit_is_refused_before_it_is_fetched(shared):
    shared.sequence += 1
    env, image, name = shared.vendor.envelope(shared.sequence, image=bytes((4 << 20) + 1))
    shared.vendor.web.put(name, image)
    shared.vendor.web.put("latest.suit", env)
    shared.daemon.post("sources/vendor/poll")
    shared.daemon.wait_update(state="rejected", reason=r"4194305|4194304|larger|too large|size")
    assert shared.vendor.web.count(name) == 0
    recovers(shared)


def test_polls_are_conditional(shared):
    recovers(shared)
    n = shared.vendor.web.count("latest.suit")
    lib.wait_for(lambda: shared.vendor.web.count("latest.suit") > n + 1, "two more polls")
    assert "If-None-Match" in shared.vendor.web.last("latest.suit")


def test_a_server_without_etag_does_not_make_work(shared):
    env, image, name = shared.vendor.envelope(shared.sequence + 1)
    shared.sequence += 1
    shared.vendor.web.put(name, image)
    shared.vendor.web.put("latest.suit", lambda h: h.serve(env, etag=False))
    shared.daemon.post("sources/vendor/poll")
    shared.node.wait_sequence(shared.sequence)
    entries, n = shared.daemon.get("status")["audit_entries"], shared.vendor.web.count("latest.suit")
    lib.wait_for(lambda: shared.vendor.web.count("latest.suit") > n + 2, "three more polls")
    lib.wait_for(lambda: not shared.daemon.items("jobs?state=open"), "the job is confirmed")
    assert shared.daemon.get("status")["audit_entries"] <= entries + 6  # the job's own, nothing by poll


def test_a_broken_download_resumes_where_it_stopped(site):
    node = site.nodes(1)
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(600000))
    site.vendor.web.put(name, web.first_then(web.truncates(image, 400000), image))
    site.vendor.web.put("latest.suit", env)
    node.wait_sequence(2)
    h = site.vendor.web.last(name)
    first = int(re.fullmatch(r"bytes=(\d+)-", h["Range"])[1])
    assert 0 < first <= 400000


def test_a_server_that_ignores_ranges_is_read_from_the_start(site):
    node = site.nodes(1)
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(600000))
    site.vendor.web.put(name, web.first_then(web.truncates(image, 400000), web.ignores_range(image)))
    site.vendor.web.put("latest.suit", env)
    node.wait_sequence(2)
    assert set(node.installed().values()) == {image}


def test_a_resumed_download_of_something_else_is_found_out(site):
    """The first half of a forgery, the second half of the real one: the digest tells, and the next try is from the start."""
    node = site.nodes(1)
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(600000))
    forged = b"\0" * len(image)
    site.vendor.web.put(name, web.first_then(web.truncates(forged, 400000), image))
    site.vendor.web.put("latest.suit", env)
    site.daemon.wait_update(sequence=2, state="held", reason=r"SU-19")
    node.wait_sequence(2)
    assert set(node.installed().values()) == {image}


def test_a_download_resumes_after_the_daemon_was_killed(site):
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(3 << 20))
    site.vendor.web.put(name, web.first_then(web.slowly(image, 100, 0.05), image))
    site.vendor.web.put("latest.suit", env)
    lib.wait_for(lambda: downloaded(site) > 500000, "half a megabyte is on disk")
    site.daemon.kill9()
    site.daemon.start()
    site.daemon.wait_update(sequence=2, state="available")
    first = int(re.fullmatch(r"bytes=(\d+)-", site.vendor.web.last(name)["Range"])[1])
    assert first >= 400000


def test_a_slow_server_is_waited_for(site):
    env, image, name = site.vendor.envelope(2, image=lib.image_bytes(300000))
    site.vendor.web.put(name, web.slowly(image, 30, 0.1))  # 3 s: longer than the 2 s a stall may last
    site.vendor.web.put("latest.suit", env)
    site.daemon.wait_update(sequence=2, state="available")
    assert site.vendor.web.count(name) == 1


def test_two_sources_do_not_wait_for_each_other(world):
    """One server stalls for good; the update of the other arrives meanwhile."""
    site = world.site(start=False)
    other = world.vendor(site.pki)
    other.web.put("latest.suit", web.silent)
    site.daemon.configure({"source": [site.source_row(), site.source_row(name="stalling", url=other.url(), timeout_s=60)]})
    site.daemon.start()
    node = site.nodes(1)
    lib.wait_for(lambda: other.web.count("latest.suit"), "the stalling one is asked")
    site.vendor.publish(2)
    node.wait_sequence(2)


def test_a_server_with_another_authority_is_not_believed(world):
    site = world.site(start=False)
    stranger = world.pki("stranger")
    site.daemon.configure({"source": [site.source_row(ca_file=stranger.root_file)]})
    site.daemon.start()
    site.vendor.publish(2)
    site.daemon.wait_source(False, r"certificate|SSL")
    assert site.vendor.web.count() == 0 and not site.daemon.items("updates")


def test_private_addresses_are_refused_unless_allowed(world):
    site = world.site(source={"allow_private": False})
    site.daemon.wait_source(False, r"not public")
    assert site.vendor.web.count() == 0


def test_plain_http_is_refused_unless_allowed(world):
    site = world.site(start=False)
    plain = world.web()
    site.daemon.configure({"source": [site.source_row(url=plain.url("latest.suit"), ca_file="")]})
    code, log = site.daemon.run_to_end()
    assert code == 78 and re.search(r"dormouse.toml:\d+: source.url: .*", log), log
    assert plain.count() == 0


def test_a_plain_http_server_is_read_where_allowed(world):
    """Only signatures count there; images are held to their digests as everywhere."""
    site = world.site(start=False)
    plain = world.web()
    site.daemon.configure({"source": [site.source_row(url=plain.url("latest.suit"), ca_file="", allow_http=True)]})
    site.daemon.start()
    env, image, name = site.vendor.envelope(2, uri=plain.url("image-2.bin"))
    plain.put(name, image)
    plain.put("latest.suit", env)
    site.daemon.wait_update(sequence=2, state="available")


def test_a_failing_server_is_asked_ever_more_seldom(world):
    site = world.site(source={"backoff_max_s": 60, "poll_s": 1})
    site.vendor.web.put("latest.suit", web.answers(500))
    site.daemon.wait_source(False)
    lib.wait_for(lambda: site.daemon.source()["failures"] >= 2, "two failures")
    start = time.monotonic()
    lib.wait_for(lambda: site.daemon.source()["failures"] >= 3, "a third")
    assert time.monotonic() - start > 2
