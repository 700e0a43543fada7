"""The command line: parse, open, call one function, show. Exit codes are in errors.py and docs/agent.md."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from client_agent import __version__, enrol, sheet, show
from client_agent.agent import Agent, open_agent
from client_agent.clock import Stop, StopRequested
from client_agent.config import Home, load_config
from client_agent.console import set_up
from client_agent.doctor import tell
from client_agent.doctor.examine import examine
from client_agent.doctor.finding import Patient
from client_agent.errors import INTERRUPTED_EXIT_CODE, AgentError, Failure, describe
from client_agent.poll import Service, outcome
from hospintel_core import failpoints
from hospintel_core.errors import CoreError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The hospital's agent: trains on local scans; only sealed updates leave, by outbound HTTPS.",
)


class LogLevel(StrEnum):
    """How much the log says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


# Paths are not checked for being readable here: whoever reads them says more, and with an exit code that tells.
HomeOption = Annotated[
    Path | None,
    typer.Option(
        envvar="HOSPINTEL_AGENT_HOME",
        help="The agent's own folder.",
        show_default="in the user's data folder",
        readable=False,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder or zip file of class folders with PNG, JPEG or DICOM scans.", show_default=False, readable=False
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--base-weights",
        envvar="HOSPINTEL_BASE_WEIGHTS",
        help="VGG16 base weights (.h5 or .safetensors), where they are not found by themselves.",
        show_default=False,
        readable=False,
    ),
]
LevelOption = Annotated[LogLevel, typer.Option(help="How much the log says.")]


@app.callback(invoke_without_command=True)
def _root(*, version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if version:
        typer.echo(f"hospintel-agent {__version__}")
        raise typer.Exit


def _code(given: str) -> str:
    """The code itself; "-" reads it from stdin, and asks for it on a terminal without showing it."""
    if given == "-":
        given = getpass("one-time code: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        message = "the code is empty"
        raise typer.BadParameter(message)
    return given.strip()


def _fingerprint(given: str) -> str:
    try:
        return enrol.plain_fingerprint(given) if given else ""
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("enrol")
def enrol_command(
    *,
    hub: Annotated[str, typer.Option(help="The hub's address, https://...", show_default=False)],
    code: Annotated[
        str,
        typer.Option(
            envvar="HOSPINTEL_AGENT_CODE",
            help="The one-time code from the hub's admin; - reads it from stdin, out of sight of `ps`.",
            callback=_code,
            show_default=False,
        ),
    ],
    hub_fingerprint: Annotated[
        str,
        typer.Option(
            help="Enrol only with the hub that has this fingerprint.", callback=_fingerprint, show_default=False
        ),
    ] = "",
    data: DataOption = None,
    home: HomeOption = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="CA certificate (PEM) of the hub, instead of the machine's own roots.", readable=False),
    ] = None,
    federation: Annotated[str, typer.Option(help="The federation to take part in.", show_default="the first")] = "",
    log_level: LevelOption = LogLevel.INFO,
) -> None:
    """Enrol this machine with a one-time code: makes the key here, pins the hub's identity."""
    set_up(log_level)
    with _reporting():
        done = enrol.enrol(
            _home(home),
            hub=hub,
            code=code,
            data=data,
            ca=ca,
            federation=federation,
            hub_fingerprint=hub_fingerprint,
        )
        show.enrolment(done)


@app.command()
def run(
    *,
    data: DataOption = None,
    home: HomeOption = None,
    weights: WeightsOption = None,
    log_level: LevelOption = LogLevel.INFO,
) -> None:
    """Serve: take part in every round until stopped by SIGTERM or Ctrl-C."""
    with _reporting(), _opened(home, data, weights, log_level) as agent:
        try:
            show.started(agent)
            Service(agent).run()
        except StopRequested:
            show.stopped()


@app.command()
def once(
    *,
    data: DataOption = None,
    home: HomeOption = None,
    weights: WeightsOption = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for the task.", show_default="for ever")
    ] = None,
    log_level: LevelOption = LogLevel.INFO,
) -> None:
    """Take part in one task and end; 0 means that the hub accepted."""
    with _reporting(), _opened(home, data, weights, log_level) as agent:
        outcome(Service(agent).once(timeout))


@app.command()
def status(*, home: HomeOption = None, log_level: LevelOption = LogLevel.WARNING) -> None:
    """Show the enrolment, whether the hub answers, and the last tasks."""
    set_up(log_level)
    with _reporting():
        place = _home(home)
        failed = show.status(place, load_config(place))
        if failed is not None:
            raise failed


@app.command()
def evaluate(
    *,
    data: DataOption = None,
    home: HomeOption = None,
    weights: WeightsOption = None,
    log_level: LevelOption = LogLevel.WARNING,
) -> None:
    """Measure the hub's current model on the local validation scans; nothing is sent."""
    with _reporting(), _opened(home, data, weights, log_level) as agent:
        show.evaluation(agent)


@app.command()
def doctor(
    *,
    data: DataOption = None,
    hub: Annotated[str, typer.Option(help="The hub's address, before enrolment.", show_default="the enrolment's")] = "",
    ca: Annotated[
        Path | None, typer.Option(help="Try this CA certificate (PEM).", show_default="the enrolment's", readable=False)
    ] = None,
    home: HomeOption = None,
    weights: WeightsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    log_level: LevelOption = LogLevel.WARNING,
) -> None:
    """Check everything that a round needs, and say what to do; nothing about the scans is sent."""
    stop = Stop()
    stop.install()
    patient = Patient(_home(home), stop, set_up(log_level), hub=hub, ca=ca, data=data, weights=weights)
    with _reporting():
        findings = examine(patient)
        tell.verdict(tell.as_json(patient, findings) if as_json else tell.as_lines(findings))


@app.command("report")
def report_command(
    *,
    number: Annotated[
        int | None, typer.Option("--round", min=0, help="Only the rounds with this number.", show_default="all rounds")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The file to write; an older one is replaced.", show_default="stdout", readable=False),
    ] = None,
    home: HomeOption = None,
    log_level: LevelOption = LogLevel.WARNING,
) -> None:
    """Write this agent's rounds as CSV, from its own journal; nothing is sent."""
    set_up(log_level)
    with _reporting():
        place = _home(home)
        text = sheet.sheet(place, load_config(place), number)
        if output is None:
            show.raw(text)
        else:
            sheet.write_sheet(output, text)


def _home(path: Path | None) -> Home:
    return Home(path.expanduser().absolute()) if path is not None else Home.default()


@contextmanager
def _opened(home: Path | None, data: Path | None, weights: Path | None, log_level: LogLevel) -> Iterator[Agent]:
    failpoints.arm(os.environ)
    stop = Stop()
    stop.install()
    with open_agent(_home(home), data=data, weights=weights, display=set_up(log_level), stop=stop) as agent:
        yield agent


@contextmanager
def _reporting() -> Iterator[None]:
    """Show expected failures as `error:` and `hint:` and end with their exit code; others keep their traceback."""
    try:
        yield
    except (AgentError, CoreError) as error:
        _fail(describe(error))
    except (StopRequested, KeyboardInterrupt):
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


def _fail(failure: Failure) -> None:
    for line in failure.lines:
        print(line, file=sys.stderr)
    raise typer.Exit(failure.exit_code)


def main() -> None:
    """Run the command line; the console script."""
    # Whatever the agent writes is for its own user alone.
    os.umask(0o077)
    app()
