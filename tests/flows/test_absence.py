"""A hospital that goes away in the middle of a run and comes back, with real processes."""

import signal

import office
from harness import Found, Hub


def test_a_hospital_that_goes_away_holds_up_two_rounds_and_is_back_by_itself(found: Found, hub: Hub) -> None:
    federation = found(3, min_updates=2, grace=1, evaluate_deadline=1, absent_after=2)
    federation.until_online()
    *staying, gone = federation.hospitals
    run = federation.run(rounds=1000)
    federation.until(lambda: any(len(r["updates"]) == 3 for r in federation.rounds(run)), "all three take part")
    federation.signal(gone, signal.SIGKILL)
    federation.wait(gone)
    ((absent,),) = [
        federation.until(lambda: hub.ask(office.events, "hospital.absent", federation=federation.slug), "it is absent")
    ]
    assert absent["facts"]["missed"] == 2
    missed = absent["objects"][0].removeprefix("round:")
    kept = {row["hospital"]: row for row in hub.ask(office.attendance, missed)}
    assert [kept[name]["presence"] for name in staying] == ["IN", "IN"]
    assert abs(sum(kept[name]["share"] for name in staying) - 1) < 1e-9
    assert (kept[gone]["presence"], kept[gone]["waited_for"], kept[gone]["share"]) == ("ABSENT", True, None)
    assert len(kept[gone]["classes"]) == 4, "what it had is known from its last report"

    def without_it() -> str | None:
        ended = [r for r in federation.rounds(run) if r["state"] == "PUBLISHED" and r["expected"] == 2]
        return ended[0]["id"] if ended else None

    alone = federation.until(without_it, "a round does not wait for it")
    kept = {row["hospital"]: row for row in hub.ask(office.attendance, alone)}
    assert (kept[gone]["presence"], kept[gone]["waited_for"]) == ("ABSENT", False)
    entries = [e for e in hub.ask(office.events, "version.published") if f"round:{alone}" in e["objects"]]
    assert [(e["facts"]["agents"], e["facts"]["absent"]) for e in entries] == [(2, 1)]

    federation.start_agent(gone)
    federation.until(lambda: hub.ask(office.events, "hospital.back", federation=federation.slug), "it is back")
    since = len(federation.rounds(run))
    federation.until(
        lambda: any(r["expected"] == 3 and len(r["updates"]) == 3 for r in federation.rounds(run)[since:]),
        "a round expects it and has its update",
    )
    hub.ask(office.abort, run)
    assert hub.ask(office.audit_holds)
