"""Runs through real processes: what the hub, its workers and the hospitals' agents do together."""

import signal

import office
from harness import Found, Hub


def test_three_hospitals_train_three_rounds_together(found: Found, hub: Hub) -> None:
    federation = found(3)
    run = federation.run(rounds=3)
    rounds = federation.until_run_is("DONE", run)
    assert [(r["number"], r["attempt"], r["state"]) for r in rounds] == [(n, 1, "PUBLISHED") for n in (1, 2, 3)]
    assert [r["version"] for r in rounds] == [2, 3, 4]
    for round_ in rounds:
        assert round_["updates"] == [(name, "CONSUMED") for name in federation.hospitals]
        # What each agent measured on the version that it received.
        assert round_["reports"]["TRAIN"] == federation.hospitals
    assert [r["base"] for r in rounds[1:]] == [r["digest"] for r in rounds[:-1]], "each round starts from the last"
    assert rounds[-1]["reports"]["EVALUATE"] == federation.hospitals, "the run ends with one evaluation"
    federation.until(lambda: not hub.ask(office.what_is_left, run), "ciphertexts and round keys are gone")
    for name in federation.hospitals:
        kinds = [(row["kind"], row["state"]) for row in federation.journal(name)]
        assert sorted(kinds) == [("evaluate", "ACCEPTED"), *[("train", "ACCEPTED")] * 3]
    assert hub.ask(office.audit_holds)


def test_a_candidate_is_published_after_the_quorum_of_agents_evaluated_it(found: Found) -> None:
    # A margin that forgives everything: what so few scans say changes from round to round.
    federation = found(2, evaluate_quorum=2, gate_margin=1.0)
    rounds = federation.until_run_is("DONE", federation.run(rounds=2))
    assert [r["state"] for r in rounds] == ["PUBLISHED", "PUBLISHED"]
    for round_ in rounds:
        assert round_["reports"]["EVALUATE"] == federation.hospitals
        assert "of 2 agents" in round_["verdict"]


def test_a_candidate_that_the_agents_find_worse_is_held_and_the_run_pauses(found: Found, hub: Hub) -> None:
    # With this margin every candidate is too bad: it would have to be better than perfect.
    federation = found(2, evaluate_quorum=2, gate_margin=-1.5)
    run = federation.run(rounds=2)
    (round_,) = federation.until_run_is("PAUSED", run)
    assert (round_["state"], round_["version"]) == ("HELD", None)
    assert round_["reports"]["EVALUATE"] == federation.hospitals
    federation.until(lambda: not hub.ask(office.what_is_left, run), "ciphertexts and round keys are gone")


def test_a_round_closes_without_a_hospital_that_stands_still_and_takes_it_back_later(found: Found, hub: Hub) -> None:
    federation = found(3, min_updates=2, grace=1, evaluate_deadline=1)
    federation.until_online()
    *quick, slow = federation.hospitals
    federation.signal(slow, signal.SIGSTOP)
    run = federation.run(rounds=1)
    (round_,) = federation.until_run_is("DONE", run)
    assert (round_["state"], round_["expected"]) == ("PUBLISHED", 3)
    assert round_["updates"] == [(name, "CONSUMED") for name in quick]
    (closed,) = hub.ask(office.events, "round.aggregating", obj=f"round:{round_['id']}")
    assert (closed["facts"]["accepted"], closed["facts"]["missing"]) == (2, 1)

    federation.signal(slow, signal.SIGCONT)
    run = federation.run(rounds=100)
    federation.until(lambda: any(len(r["updates"]) == 3 for r in federation.rounds(run)), "it takes part again")
    hub.ask(office.abort, run)


def test_a_revoked_agent_is_told_so_and_the_others_go_on(found: Found, hub: Hub) -> None:
    federation = found(3, min_updates=2)
    federation.until_online()
    run = federation.run(rounds=8)
    federation.until_round(1, "PUBLISHED", run)
    *others, revoked = federation.hospitals
    hub.ask(office.revoke, revoked)
    assert federation.wait(revoked) == 5
    log = federation.log(revoked)
    assert "error: " in log
    assert "(agent_revoked)" in log
    assert "hint: this agent was revoked" in log
    rounds = federation.until_run_is("DONE", run)
    assert [r["state"] for r in rounds if r["state"] != "PUBLISHED"] == []
    assert [name for name, _ in rounds[-1]["updates"]] == others
