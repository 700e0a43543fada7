"""The short form of `make chaos`, and what it is made of."""

from pathlib import Path

from campaign import OF_ROUNDS, SHORT, Campaign, summary
from jobs import POINTS as OF_JOBS
from uploads import KINDS

from hospintel_core.failpoints import POINTS

BOTH = ("before_commit", "committed")


def test_no_kill_at_a_failpoint_loses_a_round(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path)
    broken = campaign.run(campaign.short())
    assert broken == 0, summary(campaign.results)
    assert [one["scenario"] for one in campaign.results if not one["reached"]] == []
    assert len(campaign.results) == len(SHORT)


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    first = Campaign(tmp_path)
    with first.file.open("a") as file:
        for point in SHORT:
            file.write(f'{{"scenario": "short/{point}", "violations": []}}\n')
    again = Campaign(tmp_path)
    assert [name for name, _ in again.short() if not again.has(name)] == []


def test_each_point_of_the_campaign_is_one_and_is_in_one_kind_of_scenario() -> None:
    kinds = [*OF_ROUNDS, *OF_JOBS, *KINDS]
    assert len(kinds) == len(set(kinds))
    # A refused update and a held candidate need a hospital that sends what is wrong: tests/federation has those.
    assert set(POINTS) - set(kinds) == {f"{what}.{when}" for what in ("refuse", "hold") for when in BOTH}
