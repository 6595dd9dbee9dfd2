"""Bad envelopes by the real way in, the vendor's HTTPS server: each is refused with its state and reason, makes no job, and
does not keep a good update from the node in the same daemon."""
import os
import random
import struct

import cbor2
import pytest

import lib
import web


class Bench:
    """One site and one node, used by many cases; sequence numbers grow so that what is good stays good."""

    def __init__(self, site):
        self.site, self.daemon, self.vendor = site, site.daemon, site.vendor
        self.sequence = 10
        self.node = site.nodes(1)

    def next(self):
        self.sequence += 1
        return self.sequence

    def known(self):
        return {u["id"] for u in self.daemon.items("updates")}

    def offer(self, envelope, path="latest.suit"):
        """Puts it at the vendor's server; wait for the outcome with refused() or delivered()."""
        self.vendor.web.put(path, envelope)
        self.daemon.post("sources/vendor/poll")

    def refused(self, envelope, reason, state="rejected"):
        """That envelope becomes an update in that state with that reason, and nothing else happens because of it."""
        before, jobs = self.known(), {j["id"] for j in self.daemon.items("jobs")}
        self.offer(envelope)
        u = self.daemon.wait_update("the refusal", state=state, reason=reason, test=lambda u: u["id"] not in before)
        assert {j["id"] for j in self.daemon.items("jobs")} == jobs
        verdict = lib.wait_for(lambda: self.daemon.get(f"updates/{u['id']}/verdict"), "the verdict is on disk")
        assert any(r["outcome"] in ("fail", "undecided") and r["evidence"] for r in verdict["rules"]) or "SU-" in u["reason"]
        return u

    def delivered(self):
        """The daemon still does its work: a good update, all the way to the node."""
        n = self.next()
        self.vendor.publish(n)
        self.daemon.post("sources/vendor/poll")
        self.node.wait_sequence(n)
        lib.wait_for(lambda: not self.daemon.items("jobs?state=open"), "the job is confirmed")


@pytest.fixture(scope="module")
def bench(module_world):
    site = module_world.site(config={"cache": {"envelope_max_bytes": 65536}},
                             anchor={"class_ids": [str(lib.class_uuid()), str(lib.class_uuid("model-2"))]})
    return Bench(site)


@pytest.mark.parametrize("cut", [1, 2, 7, 0.1, 0.5, 0.9, -1])
def test_a_truncated_envelope_is_refused(bench, cut):
    env, _, _ = bench.vendor.envelope(bench.next())
    n = int(len(env) * cut) if isinstance(cut, float) else cut if cut > 0 else len(env) + cut
    u = bench.refused(env[:n], r"SU-|CBOR|envelope")
    assert u["envelope_bytes"] == n
    bench.delivered()


def test_a_byte_too_many_is_refused(bench):
    env, _, _ = bench.vendor.envelope(bench.next())
    bench.refused(env + b"\0", r"SU-|CBOR|envelope")
    bench.delivered()


def test_an_envelope_over_the_limit_is_not_read(bench):
    bench.offer(lib.image_bytes(65537))
    bench.daemon.wait_source(False, r"65537 bytes, 65536 are allowed")
    env, _, _ = bench.vendor.envelope(bench.next(), image=lib.image_bytes(70000), integrated=True)
    bench.offer(env)
    bench.daemon.wait_source(False, r"bytes, 65536 are allowed")
    bench.delivered()
    bench.daemon.wait_source(True)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_is_refused(bench, seed):
    rng = random.Random(seed)
    env = bytearray(bench.vendor.envelope(bench.next(), image=lib.image_bytes(200, seed), integrated=True)[0])
    at = rng.randrange(len(env) * seed // 12, len(env) * (seed + 1) // 12)
    env[at] ^= 1 << rng.randrange(8)
    bench.refused(bytes(env), r".")
    if seed % 4 == 3:
        bench.delivered()


BOMBS = {
    "deep arrays": b"\x81" * 60000 + b"\0",
    "deep maps": b"\xa1\0" * 30000 + b"\0",
    "deep tags": b"\xd8\x6b" * 30000 + b"\0",
    "endless nesting": b"\x9f" * 60000,
    "a huge array": b"\xd8\x6b\x9b" + b"\xff" * 8,
    "a huge map": b"\xd8\x6b\xbb\x7f" + b"\xff" * 7,
    "a huge string": b"\xd8\x6b\xa2\x02\x5b\x7f" + b"\xff" * 7,
    "four gigabytes": b"\xd8\x6b\xa2\x02\x5a" + b"\xff" * 4 + b"a" * 1000,
    "many members": b"\xd8\x6b\xb9\x27\x10" + b"".join(b"\x19" + struct.pack("!H", i) + b"\0" for i in range(10000)),
    "reserved heads": b"\xd8\x6b\xbc" * 100,
    "nothing": b"",
    "text": b"<html><body>404</body></html>",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_cbor_bomb_is_refused_in_little_memory(bench, bomb):
    bench.daemon.reset_peak()
    before = bench.daemon.memory("VmHWM")
    bench.refused(BOMBS[bomb], r".")
    if not lib.is_sanitized():
        assert bench.daemon.memory("VmHWM") - before < 8 << 20
    bench.delivered()


def members(envelope):
    return cbor2.loads(envelope).value


def test_a_manifest_that_does_not_match_its_digest_is_refused(bench):
    good, other = (bench.vendor.envelope(bench.next())[0] for _ in range(2))
    m = dict(members(good))
    m[3] = members(other)[3]  # the manifest of one under the signature of the other
    bench.refused(cbor2.dumps(cbor2.CBORTag(107, m)), r"SU-\d+.*digest")
    bench.delivered()


def test_a_signature_of_another_manifest_is_refused(bench):
    good, other = (bench.vendor.envelope(bench.next())[0] for _ in range(2))
    wrapper = cbor2.loads(members(good)[2])
    wrapper[1] = cbor2.loads(members(other)[2])[1]
    m = dict(members(good))
    m[2] = cbor2.dumps(wrapper)
    bench.refused(cbor2.dumps(cbor2.CBORTag(107, m)), r"signature|digest")
    bench.delivered()


def test_an_envelope_without_signature_is_refused(bench):
    m = dict(members(bench.vendor.envelope(bench.next())[0]))
    m[2] = cbor2.dumps(cbor2.loads(m[2])[:1])
    bench.refused(cbor2.dumps(cbor2.CBORTag(107, m)), r"SU-\d+|authentic")
    bench.delivered()


def test_an_integrated_payload_that_was_changed_is_refused(bench):
    image = lib.image_bytes(5000)
    env, _, _ = bench.vendor.envelope(bench.next(), image=image, integrated=True)
    at = env.index(image)
    bad = env[:at + 2500] + bytes([env[at + 2500] ^ 1]) + env[at + 2501:]
    bench.refused(bad, r"SU-1[68].*digest")
    bench.delivered()


@pytest.mark.parametrize("how", ["one bit", "a byte short", "a byte more", "empty", "another image"])
def test_an_image_that_is_not_what_was_signed_is_held(bench, how):
    n = bench.next()
    env, image, name = bench.vendor.envelope(n)
    bad = {"one bit": image[:9000] + bytes([image[9000] ^ 4]) + image[9001:], "a byte short": image[:-1], "a byte more": image + b"\0",
           "empty": b"", "another image": lib.image_bytes(len(image), 12345)}[how]
    bench.vendor.web.put(name, bad)
    u = bench.refused(env, r"SU-19|not what the vendor signed|payload", state="held")
    assert u["sequence"] == n and not u["images"][0]["is_cached"]
    bench.delivered()
    assert lib.sha256(bad) not in {i["digest"] for i in bench.daemon.items("images")}


def test_an_image_that_is_mended_at_its_server_is_delivered(bench):
    n = bench.next()
    env, image, name = bench.vendor.envelope(n)
    bench.vendor.web.put(name, b"x" + image[1:])
    bench.refused(env, r"SU-19", state="held")
    bench.vendor.web.put(name, image)
    bench.node.wait_sequence(n)


def test_a_class_that_the_anchor_may_not_sign_for_is_refused(bench):
    bench.refused(bench.vendor.envelope(bench.next(), model="model-9")[0], r"class")
    bench.delivered()


def test_a_vendor_that_the_anchor_may_not_sign_for_is_refused(bench):
    bench.refused(bench.vendor.envelope(bench.next(), vendor="stranger.example")[0], r"vendor")
    bench.delivered()


def test_another_class_is_accepted_and_makes_no_job_for_this_node(bench):
    n = bench.next()
    bench.vendor.publish(n, model="model-2")
    bench.daemon.post("sources/vendor/poll")
    u = bench.daemon.wait_update(state="available", sequence=n)
    bench.delivered()
    assert not bench.daemon.items(f"jobs?update={u['id']}")
    why = bench.daemon.get(f"why-not?device={bench.daemon.items('devices')[0]['id']}&update={u['id']}")
    assert not why["allowed"] and any("class" in b["text"] for b in why["blocks"])


def test_a_stranger_is_refused(bench, module_world):
    stranger = module_world.pki("stranger")
    bench.refused(bench.vendor.envelope(bench.next(), signer=stranger.signer)[0], r"CO-14|anchor")
    bench.delivered()


def test_a_signer_whose_certificate_has_ended_is_refused(bench):
    pki = bench.site.pki
    bench.refused(bench.vendor.envelope(bench.next(), signer=pki.issue("ended", days=(-30, -1)))[0], r"CO-14.*(expired|ended|valid|after)")
    bench.delivered()


def test_a_signer_whose_certificate_has_not_begun_is_refused(bench):
    pki = bench.site.pki
    bench.refused(bench.vendor.envelope(bench.next(), signer=pki.issue("early", days=(1, 30)))[0], r"CO-14.*(not yet|valid|before)")
    bench.delivered()


def test_a_certificate_that_is_not_for_signing_code_is_refused(bench):
    bench.refused(bench.vendor.envelope(bench.next(), signer=bench.site.pki.web)[0], r"code|CO-14|usage")
    bench.delivered()


def test_a_signer_certified_by_a_signer_is_refused(bench):
    pki = bench.site.pki
    fake = pki.issue("fake", issuer=pki.signer)
    bench.refused(bench.vendor.envelope(bench.next(), signer=fake, chain=[fake, pki.signer])[0], r"CO-14|CA|anchor")
    bench.delivered()


def test_an_older_release_is_refused(bench):
    bench.delivered()
    bench.refused(bench.vendor.envelope(bench.sequence - 1, image=b"old")[0], r"SU-12")
    bench.delivered()


def test_two_manifests_with_one_sequence_number_raise_an_alarm(bench):
    bench.delivered()
    u = bench.refused(bench.vendor.envelope(bench.sequence, image=b"other")[0], r"SU-1[23]|equivocation|same sequence")
    assert bench.daemon.get(f"updates/{u['id']}/verdict")["equivocation"]
    bench.daemon.wait_log("two different manifests with sequence")
    bench.delivered()


def test_a_payload_on_a_host_the_anchor_does_not_name_is_refused(bench):
    bench.refused(bench.vendor.envelope(bench.next(), uri="https://localhost:1/x.bin")[0], r"host|SU-2\d|URI")
    bench.delivered()


def test_none_of_it_was_offered_and_the_audit_log_is_whole(bench):
    """Comes last: over all of the above."""
    good = {u["id"] for u in bench.daemon.items("updates") if u["state"] in ("available", "superseded", "verified")}
    assert {j["update"] for j in bench.daemon.items("jobs")} <= good
    assert "the tree is the one that was signed" in bench.daemon.audit()
    digests = {u["images"][0]["digest"] for u in bench.daemon.items("updates") if u["sequence"] == bench.sequence and u["images"]}
    assert {lib.sha256(b) for b in bench.node.installed().values()} <= digests
