"""Revocation by real responders and lists: what is revoked is refused or recalled, what is unknown is held until it is known,
and an old answer brings nothing back."""
import random
import time

import pytest

import lib


def good_after(site, node, sequence, **kw):
    """The same daemon still delivers what is good."""
    site.vendor.publish(sequence, **kw)
    site.daemon.post("sources/vendor/poll")
    node.wait_sequence(sequence)


def look(site):
    """Fetch the status now, rather than some seconds later."""
    site.daemon.post("revocation/refresh")


def other_signer(site, name="other signer"):
    s = site.pki.issue(name)
    site.ocsp.set(s, "good")
    return s


def test_a_revoked_leaf_is_refused(site):
    node = site.nodes(1)
    bad = site.pki.issue("stolen")
    site.ocsp.set(bad, "revoked")
    site.vendor.publish(2, signer=bad)
    u = site.daemon.wait_update(state="rejected", reason=r"RV-3.*'CN = stolen' was revoked on .*keyCompromise")
    assert not site.daemon.items("jobs")
    verdict = lib.wait_for(lambda: site.daemon.get(f"updates/{u['id']}/verdict"), "the verdict")
    assert verdict["revoked"] and verdict["outcome"] == "rejected"
    good_after(site, node, 3)


@pytest.fixture
def chain_site(world):
    """Signer under an intermediate; both name a CRL at a web server of their own and no OCSP responder."""
    web = world.web()
    site = world.site(ocsp=False)
    site.lists = web
    site.ca = site.pki.issue_ca("middle", crl_url=web.url("root.crl"))
    site.leaf = site.pki.issue("leaf", issuer=site.ca, crl_url=web.url("middle.crl"))
    site.chain = [site.leaf, site.ca]
    web.put("root.crl", site.pki.crl())
    web.put("middle.crl", site.pki.crl(site.ca))
    return site


def publish_chain(site, sequence):
    site.vendor.publish(sequence, signer=site.leaf, chain=site.chain)
    site.daemon.post("sources/vendor/poll")


def another_chain(site):
    """A second intermediate and leaf, not touched by what happens to the first."""
    ca = site.pki.issue_ca("second", crl_url=site.lists.url("root.crl"))
    leaf = site.pki.issue("second leaf", issuer=ca, crl_url=site.lists.url("second.crl"))
    site.lists.put("second.crl", site.pki.crl(ca))
    return leaf, [leaf, ca]


def test_an_intermediate_and_its_lists_are_followed(chain_site):
    node = chain_site.nodes(1)
    publish_chain(chain_site, 2)
    node.wait_sequence(2)
    assert chain_site.lists.count("root.crl") and chain_site.lists.count("middle.crl")


def test_a_revoked_intermediate_is_refused(chain_site):
    node = chain_site.nodes(1)
    chain_site.lists.put("root.crl", chain_site.pki.crl(revoked=[chain_site.ca]))
    publish_chain(chain_site, 2)
    chain_site.daemon.wait_update(state="rejected", reason=r"RV-3.*'CN = middle' was revoked.*CRL")
    assert not chain_site.daemon.items("jobs")
    leaf, chain = another_chain(chain_site)
    good_after(chain_site, node, 3, signer=leaf, chain=chain)


def test_an_intermediate_revoked_later_recalls(chain_site):
    node = chain_site.nodes(1)
    publish_chain(chain_site, 2)
    node.wait_sequence(2)
    chain_site.lists.put("root.crl", chain_site.pki.crl(revoked=[chain_site.ca]))
    look(chain_site)
    chain_site.daemon.wait_update(state="recalled", sequence=2, reason=r"RV-3.*'CN = middle' was revoked")


def test_a_stale_list_holds_and_other_work_goes_on(chain_site):
    node = chain_site.nodes(1)
    chain_site.lists.put("middle.crl", chain_site.pki.crl(chain_site.ca, age_s=7200, life_s=3600))
    publish_chain(chain_site, 2)
    chain_site.daemon.wait_update(state="held", sequence=2, reason=r"RV-\d+")
    assert not chain_site.daemon.items("jobs")
    leaf, chain = another_chain(chain_site)
    good_after(chain_site, node, 3, signer=leaf, chain=chain)


def test_a_stale_list_releases_to_the_node(chain_site):
    node = chain_site.nodes(1)
    chain_site.lists.put("root.crl", chain_site.pki.crl(age_s=7200, life_s=3600))
    publish_chain(chain_site, 2)
    chain_site.daemon.wait_update(state="held", sequence=2, reason=r"RV-\d+.*middle")
    chain_site.lists.put("root.crl", chain_site.pki.crl())
    look(chain_site)
    node.wait_sequence(2)


def test_a_list_of_somebody_else_counts_for_nothing(chain_site, world):
    stranger = world.pki("stranger")
    chain_site.lists.put("root.crl", stranger.crl())
    publish_chain(chain_site, 2)
    chain_site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")
    chain_site.daemon.wait_log("not the issuer that was asked for")


def test_an_older_list_does_not_take_the_place_of_a_newer(chain_site):
    old = chain_site.pki.crl(age_s=60)
    publish_chain(chain_site, 2)
    chain_site.daemon.wait_update(state="available", sequence=2)
    chain_site.lists.put("root.crl", chain_site.pki.crl(revoked=[chain_site.ca]))
    look(chain_site)
    chain_site.daemon.wait_update(state="recalled", sequence=2)
    chain_site.lists.put("root.crl", old)
    publish_chain(chain_site, 3)
    chain_site.daemon.wait_update(state="rejected", reason=r"RV-3.*'CN = middle' was revoked")


def test_an_unknown_certificate_is_held_until_it_is_known(site):
    node = site.nodes(1)
    strange = site.pki.issue("unheard of")
    site.ocsp.set(strange, "unknown")
    site.vendor.publish(2, signer=strange)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-13.*does not know certificate 'CN = unheard of'")
    assert not site.daemon.items("jobs")
    site.ocsp.set(strange, "good")
    look(site)
    node.wait_sequence(2)


def test_an_unknown_certificate_does_not_hold_others(site):
    node = site.nodes(1)
    strange = site.pki.issue("unheard of")
    site.ocsp.set(strange, "unknown")
    site.vendor.publish(2, signer=strange)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-13")
    good_after(site, node, 3)


def test_a_responder_that_does_not_feel_responsible_holds(site):
    site.vendor.publish(2, signer=site.pki.issue("not in its books"))  # answers "unauthorized"
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")
    site.daemon.wait_log("not a successful OCSP answer")


def test_an_answer_by_a_stranger_counts_for_nothing(site, world):
    stranger = world.pki("stranger")
    site.ocsp.replay = site.pki.ocsp_answer(site.pki.signer, responder=stranger.responder)
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")
    site.ocsp.replay = None
    look(site)
    site.daemon.wait_update(state="available", sequence=2)


def test_an_answer_about_another_certificate_counts_for_nothing(site):
    site.ocsp.replay = site.pki.ocsp_answer(other_signer(site))
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")
    site.daemon.wait_log("not about the certificate that was asked for")


@pytest.mark.parametrize("junk", ["empty", "random", "html", "endless"])
def test_a_responder_that_talks_nonsense_holds(site, junk):
    if junk == "endless":
        import web
        site.ocsp.web.put("ocsp", web.endless())
    else:
        site.ocsp.replay = {"empty": b"", "random": random.Random(1).randbytes(3000), "html": b"<html>" * 100}[junk]
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")
    site.ocsp.web.put("ocsp", site.ocsp._answer)
    site.ocsp.replay = None
    look(site)
    site.daemon.wait_update(state="available", sequence=2)


def test_a_replayed_good_answer_does_not_undo_a_revocation(site):
    node = site.nodes(1)
    old_good = site.pki.ocsp_answer(site.pki.signer, age_s=5)
    site.vendor.publish(2)
    node.wait_sequence(2)
    site.ocsp.set(site.pki.signer, "revoked")
    look(site)
    site.daemon.wait_update(state="recalled", sequence=2, reason="RV-3.*revoked")
    site.ocsp.replay = old_good  # still within its time, rightly signed, and from before the revocation
    site.vendor.publish(3)
    site.daemon.post("sources/vendor/poll")
    site.daemon.wait_update(state="rejected", reason="RV-3.*revoked")
    site.daemon.restart()
    look(site)
    site.vendor.publish(4)
    site.daemon.post("sources/vendor/poll")
    lib.wait_for(lambda: sum(u["state"] == "rejected" for u in site.daemon.items("updates")) == 2, "refused after a restart, too")
    assert site.daemon.updates(sequence=2)[0]["state"] == "recalled"
    assert all(j["update"] == site.daemon.updates(sequence=2)[0]["id"] for j in site.daemon.items("jobs"))
    site.ocsp.replay = None
    good_after(site, node, 5, signer=other_signer(site))


def test_a_replayed_answer_that_has_run_out_holds(site):
    site.ocsp.replay = site.pki.ocsp_answer(site.pki.signer, age_s=7200, life_s=3600)
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-")
    assert not site.daemon.items("jobs")
    site.ocsp.replay = None
    look(site)
    site.daemon.wait_update(state="available", sequence=2)


def test_an_answer_from_the_future_counts_for_nothing(site):
    site.ocsp.replay = site.pki.ocsp_answer(site.pki.signer, age_s=-86400)
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-")
    site.ocsp.replay = None
    look(site)
    site.daemon.wait_update(state="available", sequence=2)
    assert site.daemon.get("status")["clock_ok"]


def test_a_responder_whose_clock_is_ahead_does_not_make_ours_wrong(site):
    node = site.nodes(1)
    site.ocsp.age_s = -200  # within what a responder may be off
    site.vendor.publish(2)
    node.wait_sequence(2)
    assert site.daemon.get("status")["clock_ok"]
    good_after(site, node, 3)


def test_a_responder_that_is_down_holds_until_it_is_back(site):
    node = site.nodes(1)
    site.ocsp.down()
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")
    assert not site.daemon.items("jobs")
    site.daemon.wait_log("revocation status from .*last good one is kept")
    site.ocsp.up()
    node.wait_sequence(2)
    assert site.daemon.updates(sequence=2)[0]["state"] == "available"


def test_a_responder_that_is_down_holds_over_a_restart(site):
    node = site.nodes(1)
    site.ocsp.down()
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2)
    site.daemon.restart()
    assert site.daemon.wait_update(state="held", sequence=2)
    site.ocsp.up()
    node.wait_sequence(2)


def test_a_responder_that_fails_later_leaves_what_is_fresh(site):
    node = site.nodes(2, sleepers=1, sleep=3, awake=5)
    site.vendor.publish(2)
    site.daemon.wait_update(state="available", sequence=2)
    site.ocsp.down()
    node.wait_sequence(2)
    site.daemon.wait_log("last good one is kept")
    assert site.daemon.updates(sequence=2)[0]["state"] == "available"


def test_status_that_runs_out_while_the_responder_is_down_holds_again(site):
    site.ocsp.life_s = 3
    site.vendor.publish(2)
    site.daemon.wait_update(state="available", sequence=2)
    site.ocsp.down()
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-13.*ran out")
    site.ocsp.up()
    site.daemon.wait_update(state="available", sequence=2)


def test_grace_lets_the_last_good_status_live_on(world):
    site = world.site(anchor={"revocation": "grace", "grace_s": 600})
    node = site.nodes(1)
    site.ocsp.life_s = 2
    site.vendor.publish(2)
    node.wait_sequence(2)
    site.ocsp.down()
    ends = time.time() + 3
    lib.wait_for(lambda: time.time() > ends, "the status runs out")
    site.vendor.publish(3)
    node.wait_sequence(3)  # also what is new, by the status in hand
    u = site.daemon.updates(sequence=3)[0]["id"]
    assert any("within the grace time" in r["evidence"] for r in site.daemon.get(f"updates/{u}/verdict")["rules"])
    assert {u["state"] for u in site.daemon.items("updates")} <= {"available", "superseded"}


def test_grace_does_not_invent_a_status(world):
    site = world.site(anchor={"revocation": "grace", "grace_s": 600})
    site.ocsp.down()
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4")


def by_hand_config(site, mode, grace_s=60, age_s=3600, life_s=3600, revoked=()):
    """No address in the certificates: the status comes from a list that was carried in."""
    path = site.pki.write("hand.crl", site.pki.crl(age_s=age_s, life_s=life_s, revoked=revoked))
    site.daemon.configure({"anchor": [site.anchor_row(crl_files=[path], revocation=mode, grace_s=grace_s)]})
    return path


def test_grace_ends(world):
    site = world.site(ocsp=False, start=False)
    by_hand_config(site, "grace", grace_s=60, age_s=3600, life_s=3600 - 54)  # ran out 54 s ago
    site.daemon.start()
    site.vendor.publish(2)
    u = site.daemon.wait_update(state="available", sequence=2)
    verdict = site.daemon.get(f"updates/{u['id']}/verdict")
    assert any(r["outcome"] == "warn" and "within the grace time" in r["evidence"] for r in verdict["rules"])
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-13.*ran out", seconds=20)


def test_a_list_carried_in_revokes(world):
    site = world.site(ocsp=False, start=False)
    by_hand_config(site, "hard", revoked=[site.pki.signer], age_s=10)
    site.daemon.start()
    site.vendor.publish(2)
    site.daemon.wait_update(state="rejected", reason=r"RV-3.*revoked.*CRL")


def test_a_list_carried_in_later_recalls_after_a_reload(world):
    site = world.site(ocsp=False, start=False)
    path = by_hand_config(site, "hard", age_s=100)
    site.daemon.start()
    site.vendor.publish(2)
    site.daemon.wait_update(state="available", sequence=2)
    with open(path, "wb") as f:
        f.write(site.pki.crl(revoked=[site.pki.signer], age_s=10))
    site.daemon.post("reload")
    site.daemon.wait_update(state="recalled", sequence=2, reason=r"RV-3.*revoked")


def test_no_status_at_all_holds(world):
    site = world.site(ocsp=False)
    site.vendor.publish(2)
    site.daemon.wait_update(state="held", sequence=2, reason=r"RV-4.*names no CRL or OCSP address")


def test_soft_only_remarks(world):
    site = world.site(ocsp=False, anchor={"revocation": "soft"})
    node = site.nodes(1)
    site.vendor.publish(2)
    node.wait_sequence(2)
    u = site.daemon.updates(sequence=2)[0]
    assert any(r["outcome"] == "warn" and r["id"].startswith("RV-") for r in site.daemon.get(f"updates/{u['id']}/verdict")["rules"])


def test_soft_still_refuses_what_is_known_to_be_revoked(world):
    site = world.site(anchor={"revocation": "soft"})
    site.ocsp.set(site.pki.signer, "revoked")
    site.vendor.publish(2)
    site.daemon.wait_update(state="rejected", reason=r"RV-3.*revoked")


def test_revoked_while_sleepers_wait(site):
    """Delivery has begun, most nodes sleep: the recall closes every open job, and the sleepers get nothing when they wake."""
    nodes = site.nodes(6, sleepers=5, sleep=4, awake=4)
    lib.wait_for(lambda: sum(n["state"] in ("asleep", "sleeping") for n in nodes.status()) >= 4 or all(n["checks"] for n in nodes.status()),
                 "the sleepers sleep")
    site.vendor.publish(2, image=lib.image_bytes(100000))
    site.daemon.wait_update(state="available", sequence=2)
    lib.wait_for(lambda: any(n["sequence"] == 2 for n in nodes.status()), "the node that does not sleep has it", 30, [nodes])
    waiting = {n["name"] for n in nodes.status() if n["sequence"] != 2}
    assert waiting
    site.ocsp.set(site.pki.signer, "revoked")
    look(site)
    u = site.daemon.wait_update(state="recalled", sequence=2, reason="revoked")
    lib.wait_for(lambda: not site.daemon.items("jobs?state=open"), "no job is open", 10, [site.daemon])
    had = {n["name"] for n in nodes.status() if n["sequence"] == 2}
    wakes = {n["name"]: n["wakes"] for n in nodes.status()}
    lib.wait_for(lambda: all(n["wakes"] >= wakes[n["name"]] + 2 for n in nodes.status() if n["name"] in waiting - had), "they woke twice", 60,
                 [nodes])
    after = {n["name"] for n in nodes.status() if n["sequence"] == 2}
    assert after == had, "a sleeper got the recalled update after the recall"
    states = {j["device"]: j["state"] for j in site.daemon.items(f"jobs?update={u['id']}")}
    assert set(states.values()) <= {"cancelled", "confirmed"} and "cancelled" in states.values()
    assert not any(i["pins"] and i["digest"] == u["images"][0]["digest"] for i in site.daemon.items("images"))
    good_after(site, nodes, 3, signer=other_signer(site))


def test_recalled_by_a_person_while_sleepers_wait(site):
    nodes = site.nodes(4, sleepers=4, sleep=4, awake=4)
    lib.wait_for(lambda: all(n["checks"] for n in nodes.status()), "each asked once")
    site.vendor.publish(2)
    u = site.daemon.wait_update(state="available", sequence=2)
    site.daemon.post(f"updates/{u['id']}/recall", {"reason": "the vendor called"})
    r = site.daemon.wait_update(state="recalled", sequence=2)
    assert "the vendor called" in r["reason"]
    lib.wait_for(lambda: not site.daemon.items("jobs?state=open"), "no job is open")
    had = {n["name"] for n in nodes.status() if n["sequence"] == 2}
    wakes = {n["name"]: n["wakes"] for n in nodes.status()}
    lib.wait_for(lambda: all(n["wakes"] > wakes[n["name"]] for n in nodes.status() if n["name"] not in had), "all woke", 60, [nodes])
    assert {n["name"] for n in nodes.status() if n["sequence"] == 2} == had
    site.daemon.restart()
    assert site.daemon.updates(sequence=2)[0]["state"] == "recalled"
