"""What the pages of hospitals show: agents and whether they can be reached, codes, contributions."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Prefetch, Q, Sum
from django.utils import timezone

from apps.accounts.models import Hospital
from apps.federation.figures import Hospitals
from apps.federation.live import MAX_WAIT
from apps.federation.models import Agent, EnrolmentCode, Federation, Participation, Update
from apps.federation.states import AgentState, CodeState, UpdateState
from apps.federation.words import REFUSALS, Advice, absence, refusal

# Longer than any long poll: an agent that called in this time is waiting at the hub now, or trains, or sends.
THERE_SECONDS = MAX_WAIT + 5
CONTRIBUTIONS = 20
# Refused through nobody's fault.
NO_FAULT = tuple(code for code, advice in REFUSALS.items() if not advice.alarm)


@dataclass(frozen=True)
class Connection:
    """Whether an agent can be reached: `kind` is that of the state's icon, `said` the state, and what it means."""

    kind: str
    said: str
    advice: Advice


def connection(agent: Agent, federation: Federation) -> Connection:
    """Return whether an agent is there now, and what to do if it is not."""
    version = f" with version {agent.version}" if agent.version else ""
    if agent.state == AgentState.REVOKED:
        return Connection("bad", "Revoked", refusal("agent_revoked"))
    if agent.last_seen is None:
        never = Advice(
            "It is enrolled and has never asked for work.",
            "Start hospintel-agent run on the hospital's machine; hospintel-agent doctor says what is in its way.",
        )
        return Connection("warn", "Has not called yet", never)
    if agent.is_online(int(THERE_SECONDS)):
        now = Advice(f"It called within the last minute{version}: its line to the hub is open.", "Nothing to do.")
        return Connection("good", "Connected", now)
    if agent.is_online(federation.seen_within):
        late = Advice(
            f"It called lately{version}, but not in the last minute: it trains, sends, or has just lost its line.",
            "Test again in a minute.",
        )
        return Connection("now", "Called lately", late)
    lost = Advice(
        f"It does not call. The last call came {_moment(agent.last_seen)}{version}.",
        "On the hospital's machine, hospintel-agent status says whether it runs, and hospintel-agent doctor what is "
        "between it and the hub.",
    )
    return Connection("warn", "Offline", lost)


def _moment(moment: datetime) -> str:
    return f"on {moment:%Y-%m-%d at %H:%M} UTC"


@dataclass(frozen=True)
class AgentRow:
    """An agent on its hospital's page."""

    agent: Agent
    connection: Connection


def agent_rows(hospital: Hospital, federation: Federation) -> list[AgentRow]:
    """Return a hospital's agents, those that are not revoked first."""
    agents = hospital.agents.order_by("state", "-enrolled_at")
    return [AgentRow(agent, connection(agent, federation)) for agent in agents]


def open_codes(hospital: Hospital) -> list[EnrolmentCode]:
    """Return the codes that could still be used."""
    issued = hospital.codes.filter(state=CodeState.ISSUED, expires_at__gt=timezone.now())
    return list(issued.order_by("-created_at"))


@dataclass(frozen=True)
class HospitalRow:
    """A hospital in the list: how many agents, the state of the one that called last, what it contributed."""

    hospital: Hospital
    agents: int
    people: int
    last_seen: datetime | None
    connection: Connection | None
    codes: int
    contributed: int
    absent: Advice | None


def hospital_rows(federation: Federation, hospitals: Hospitals) -> list[HospitalRow]:
    """Return the hospitals that a reader may see."""
    found = Hospital.objects.all() if hospitals is None else Hospital.objects.filter(pk__in=hospitals)
    own = Prefetch("participations", federation.participations.all())
    return [_row(hospital, federation) for hospital in found.prefetch_related("agents", own).order_by("name")]


def absent(place: Participation | None) -> Advice | None:
    """Return what it means that no round waits for a hospital any more; None where they do, or it takes no part."""
    return absence(place.missed) if place is not None and place.absent_since is not None else None


def _row(hospital: Hospital, federation: Federation) -> HospitalRow:
    place = next(iter(hospital.participations.all()), None)
    agents = [agent for agent in hospital.agents.all() if agent.state == AgentState.ACTIVE]
    long_ago = timezone.now() - timedelta(days=36500)
    best = max(agents, key=lambda agent: agent.last_seen or long_ago, default=None)
    return HospitalRow(
        hospital=hospital,
        agents=len(agents),
        people=hospital.memberships.filter(user__is_active=True).count(),
        last_seen=best.last_seen if best else None,
        connection=connection(best, federation) if best else None,
        codes=len(open_codes(hospital)),
        contributed=Update.objects.filter(agent__hospital=hospital, state=UpdateState.CONSUMED).count(),
        absent=absent(place),
    )


@dataclass(frozen=True)
class Contribution:
    """An update of a hospital's agent, and what its refusal means."""

    update: Update
    advice: Advice | None


@dataclass(frozen=True)
class Contributions:
    """What a hospital gave: the sums over all updates, and the newest ones."""

    consumed: int
    refused: int
    size: int
    scans: int
    newest: list[Contribution]


def contributions(hospital: Hospital) -> Contributions:
    """Return what the hospital's agents sent."""
    updates = Update.objects.filter(agent__hospital=hospital)
    consumed = Q(state=UpdateState.CONSUMED)
    refused = Q(state=UpdateState.REFUSED) & ~Q(code__in=NO_FAULT)
    sums = updates.aggregate(
        consumed=Count("pk", filter=consumed),
        refused=Count("pk", filter=refused),
        size=Sum("size"),
        scans=Max("num_samples", filter=consumed),
    )
    newest = updates.select_related("round__run", "agent").order_by("-received_at")[:CONTRIBUTIONS]
    told = [Contribution(u, refusal(u.code) if u.state == UpdateState.REFUSED else None) for u in newest]
    return Contributions(sums["consumed"], sums["refused"], sums["size"] or 0, sums["scans"] or 0, told)


def hospitals_headline(rows: list[HospitalRow], *, sees_all: bool) -> str:
    """Return the first line of the list."""
    if not rows:
        return "No hospital takes part yet." if sees_all else "You belong to no hospital yet."
    silent = [row.hospital.name for row in rows if row.connection is None or row.connection.kind == "warn"]
    if silent:
        return f"{len(rows) - len(silent)} of {len(rows)} hospitals are connected; not {', '.join(silent)}."
    return f"All {len(rows)} hospitals are connected." if len(rows) > 1 else f"{rows[0].hospital.name} is connected."


def hospital_headline(hospital: Hospital, agents: list[AgentRow]) -> str:
    """Return the first line of a hospital's page."""
    active = [row for row in agents if row.agent.state == AgentState.ACTIVE]
    if not active:
        return f"{hospital.name} has no agent yet."
    connected = sum(row.connection.kind in {"good", "now"} for row in active)
    if len(active) == 1:
        return f"{hospital.name} is connected." if connected else f"{hospital.name} is not connected."
    return f"{hospital.name}: {connected} of {len(active)} agents are connected."
