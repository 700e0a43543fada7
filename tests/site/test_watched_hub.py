"""A real hub is watched through a round: what it logs, what it measures, whether it says that it is ready."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from drawn import draw_scans
from harness import Federation, Hub, eventually
from prometheus_client.parser import text_string_to_metric_families

PERSON = "anna.muster"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Watched:
    """The hub, what it was asked, and what it said at its end."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.client = httpx.Client(base_url=hub.processes.address, timeout=120)
        self.requests: dict[str, str] = {}

    def ask(self, path: str, **headers: str) -> httpx.Response:
        answer = self.client.get(path, headers=headers)
        self.requests[answer.headers["X-Request-ID"]] = path
        return answer

    def samples(self) -> Samples:
        found = text_string_to_metric_families(self.ask("/metrics").text)
        return {(one.name, frozenset(one.labels.items())): one.value for family in found for one in family.samples}

    def sample(self, name: str, **labels: str) -> float:
        return self.samples().get((f"hospintel_{name}", frozenset(labels.items())), 0.0)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A hub that logs events, after one round of two hospitals."""
    folder = tmp_path_factory.mktemp("watched")
    scans = [folder / "scans" / name for name in "ab"]
    for number, one in enumerate(scans):
        draw_scans(one, 6, seed=number)
    hub = Hub(folder, HOSPINTEL_LOG_FORMAT="json")
    federation = None
    try:
        federation = Federation(hub, "watched", scans)
        federation.until_online()
        federation.until_run_is("DONE", federation.run(1, epochs=1))
        yield Watched(hub)
    finally:
        if federation is not None:
            federation.close()
        hub.close()


def test_a_hub_with_all_its_processes_is_ready(watched: Watched):
    answer = eventually(
        lambda: found if (found := watched.ask("/readyz")).status_code == 200 else None, "the hub is ready"
    )
    assert set(answer.json()["checks"].values()) == {"ok"}


def test_the_round_is_in_the_metrics_whichever_process_did_what(watched: Watched):
    here = {"federation": "watched"}
    assert watched.sample("rounds", state="PUBLISHED", reason="", **here) == 1
    assert watched.sample("runs", state="DONE", **here) == 1
    assert watched.sample("updates", state="CONSUMED", code="") == 2
    assert watched.sample("agents", state="online", **here) == 2
    assert watched.sample("update_bytes_total") > 1000
    for kind in ("web", "tick", "default", "training"):
        assert watched.sample("processes", kind=kind, version="0.1.0") == 1
    # The workers' own, by way of the database.
    task = {"task": "federation.step.inspect", "outcome": "ok"}
    eventually(lambda: watched.sample("task_seconds_count", **task) == 2, "both tasks are counted")
    assert 0 < watched.sample("task_seconds_sum", **task) < 60
    upload = {"route": "round-update", "outcome": "2xx"}
    eventually(lambda: watched.sample("http_requests_total", **upload) >= 2, "the uploads are counted")
    assert watched.sample("http_request_seconds_count", route="round-update") >= 2
    assert watched.sample("http_bytes_in_total", route="round-update") > 1000
    assert watched.sample("http_bytes_out_total", route="head") > 1000


def test_every_line_is_an_event_that_says_what_it_is_about_and_names_nobody(watched: Watched):
    watched.ask("/status", **{"X-Request-ID": "chosen-by-a-stranger"})
    watched.ask(f"/nothing/{PERSON}?name={PERSON}")
    page = watched.ask("/accounts/login/")
    form = {"username": PERSON, "password": "wrong", "csrfmiddlewaretoken": page.cookies["csrf"]}
    watched.client.post("/accounts/login/", data=form)
    watched.client.post("/update", content=bytes(100_000))
    watched.hub.stop()
    log = (watched.hub.folder / "hub.log").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    _say_where_they_come_from(events)
    _tell_of_each_request(watched, events)
    _tell_of_each_task(events)
    assert PERSON not in log
    assert "chosen-by-a-stranger" not in log
    # Where the hub listens is said; who calls is not.
    assert not [event for event in events if "127.0.0.1" in json.dumps(event) and event["process"] != "up"]


def _of(events: list[dict[str, Any]], **fields: str) -> list[dict[str, Any]]:
    return [event for event in events if event.items() >= fields.items()]


def _say_where_they_come_from(events: list[dict[str, Any]]) -> None:
    assert {"web", "default", "up"} <= {event["process"] for event in events}
    for event in events:
        assert event.keys() >= {"time", "level", "process", "pid", "logger", "message"}, event
        # What is printed was said by the supervisor, or is Celery's goodbye: all else speaks for itself.
        ended = event["message"].startswith("worker: ")
        assert event["logger"] != "hospintel.output" or event["process"] == "up" or ended, event
        assert " | " not in event["message"], event


def _tell_of_each_request(watched: Watched, events: list[dict[str, Any]]) -> None:
    told = {event["request"]: event for event in _of(events, logger="hospintel.access") if "request" in event}
    loud = {one: path for one, path in watched.requests.items() if path not in {"/metrics", "/readyz"}}
    assert loud.keys() <= told.keys()
    routes = {path.partition("?")[0]: told[one]["route"] for one, path in loud.items()}
    assert routes["/status"] == "status"
    assert routes[f"/nothing/{PERSON}"] == "none"
    upload = _of(events, route="round-update", method="PUT")[0]
    assert UUID.fullmatch(upload["round"])
    assert upload["status"] == 202
    assert upload["seconds"] >= 0
    assert _of(events, route="unread", code="body_too_large")


def _tell_of_each_task(events: list[dict[str, Any]]) -> None:
    inspected = _of(events, logger="hospintel.task", name="federation.step.inspect")
    assert len({event["task"] for event in inspected}) == len(inspected) == 2
    assert all(UUID.fullmatch(event["task"]) for event in inspected)


def test_a_hub_that_is_behind_no_proxy_takes_no_id_from_outside(watched: Watched):
    assert "chosen-by-a-stranger" not in watched.requests
