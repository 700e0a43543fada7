"""Rounds over lines that are slow, break and fall silent, of the agents and of the hub: all end, and in time.

`make network` does so with 20 rounds of five agents on worse lines.
"""

import os
from pathlib import Path

import bad_lines
import crowd
import office
import pytest
from fault_proxy import Weather
from harness import Federation, Hub

ROUNDS = 3
POOR = Weather(
    latency=0.05,
    jitter=0.05,
    slow=0.1,
    rate=4000,
    slow_seconds=2,
    cut=0.3,
    hole=0.1,
    hole_seconds=2,
    down=20_000,
    slices=2000,
)


def test_rounds_end_in_time_over_lines_that_are_slow_break_and_fall_silent(hub: Hub, scans: list[Path]) -> None:
    with bad_lines.behind(hub, "bad-lines", scans, POOR, deadline=120) as (federation, line):
        run = federation.run(rounds=ROUNDS)
        rounds = federation.until_run_is("DONE", run)
        assert [(r["state"], r["attempt"], len(r["updates"])) for r in rounds] == [("PUBLISHED", 1, 3)] * ROUNDS
        assert [one["number"] for one in hub.ask(crowd.times, run) if one["late"] > 60] == []
        assert line.happened["cut"] > 0
        assert max((seconds for _, seconds in bad_lines.waits(federation)), default=0.0) <= 61
        assert hub.ask(office.update_states, run) == ["CONSUMED"] * ROUNDS * len(scans)


@pytest.mark.skipif("REDIS_URL" not in os.environ, reason="needs PostgreSQL and Redis: make test-services")
def test_rounds_end_in_time_although_the_hub_s_lines_to_database_and_queue_break(
    tmp_path: Path, scans: list[Path]
) -> None:
    worn = Weather(latency=0.005, jitter=0.005, cut=0.3, hole=0.1, hole_seconds=1, up=20_000, down=20_000, slices=1000)
    with bad_lines.on_services(tmp_path) as (hub, lines):
        federation = Federation(hub, "worn-lines", scans[:2], deadline=120)
        federation.until_online()
        for line in lines.values():
            line.become(worn)
        run = federation.run(rounds=1)
        rounds = federation.until_run_is("DONE", run)
        assert [(r["state"], len(r["updates"])) for r in rounds] == [("PUBLISHED", 2)]
        assert [one["number"] for one in hub.ask(crowd.times, run) if one["late"] > 60] == []
        assert lines["database"].happened["cut"] > 0
        assert hub.ask(office.audit_holds)
        federation.close()
