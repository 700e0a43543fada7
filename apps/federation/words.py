"""What people are told: refusals and failures with cause and next step, and audit events as sentences."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from apps.federation.calls import told_admin, told_call


@dataclass(frozen=True)
class Advice:
    """What happened, in one sentence, what to do about it, and the name of the page where, if there is one.

    Without `alarm` nothing was wrong: no screen raises one over it.
    """

    cause: str
    step: str
    page: str = ""
    alarm: bool = True


_AGAIN = "The agent trains or seals again by itself; look here again when it has."
_UPDATE_AGENT = "Install the same version of the agent as of the hub, then start it again."
_WEIGHTS = Advice("The update does not fit the model.", _UPDATE_AGENT)
_SEAL = Advice(
    "The sealed update was damaged on its way, or was not sealed by this agent for this round.",
    "The agent sends again by itself. If it goes on: look for a proxy that changes uploads, and enrol the agent anew.",
)
_LATE = Advice(
    "The round had ended before the update could count.", "Nothing is lost: the next round takes the agent again."
)

REFUSALS: Mapping[str, Advice] = {
    "round_closed": _LATE,
    "wrong_round": _LATE,
    "run_aborted": Advice(
        "The run was aborted before the update was used.",
        "Nothing is wrong: the next run takes the agent again.",
        alarm=False,
    ),
    "not_needed": Advice(
        "The round closed without it, because enough other updates were in.",
        "Nothing is wrong: more agents are asked than are needed. The next round takes the agent again.",
        alarm=False,
    ),
    "not_selected": Advice(
        "The round asked other agents.",
        "Nothing is wrong: each round asks a part of them. A later one asks this agent.",
        alarm=False,
    ),
    "wrong_base": Advice("The update was trained from another version.", _AGAIN),
    "replayed": Advice("The same sealed update was sent twice.", "Nothing needs to be done: it counts once."),
    "agent_revoked": Advice("The agent was revoked.", "Enrol it anew with a one-time code if it shall take part."),
    "num_samples_range": Advice(
        "The update states more scans than its enrolment code allows, or none.",
        "Issue a new code with the hospital's real number of scans and enrol the agent with it.",
    ),
    "clock_skew": Advice("The agent's clock is wrong by minutes.", "Set the clock there (NTP). The agent tries again."),
    "value_range": Advice(
        "The update has absurd values: its training diverged.", "Lower the learning rate of the plan."
    ),
    "norm_range": Advice(
        "The update is far larger than those accepted before.",
        "Ask the hospital whether its scans or labels have changed; then let it train again.",
    ),
    "not_finite": Advice("The update has values that are no numbers.", "Lower the learning rate of the plan."),
    "too_many_attempts": Advice(
        "The agent used up its attempts in this round.", "It takes part again in the next one."
    ),
    "ciphertext_missing": Advice("The file of the sealed update is gone.", "Check the disk of the uploads folder."),
}
_BY_PREFIX: tuple[tuple[str, Advice], ...] = (
    ("envelope_", _SEAL),
    ("weights_", _WEIGHTS),
    ("tensor_", _WEIGHTS),
    ("codec_", _WEIGHTS),
    ("report_", Advice("The report that came with the update is not of its form.", _UPDATE_AGENT)),
)


def refusal(code: str) -> Advice:
    """Return what a refused update's code means."""
    if code in REFUSALS:
        return REFUSALS[code]
    for prefix, advice in _BY_PREFIX:
        if code.startswith(prefix):
            return advice
    return Advice(
        f"The update was refused ({code}).", "The audit says when and for which round; the hub's log says why."
    )


def absence(missed: int) -> Advice:
    """Return what it means that a hospital is absent: how many rounds in a row closed without it."""
    rounds = "the last round" if missed == 1 else f"the last {missed} rounds"
    return Advice(
        f"Missing from {rounds}: no round waits for it any more.",
        "Nothing needs to be done here: when its agent calls again, or one of its updates is accepted, the next round "
        "counts on it.",
        alarm=False,
    )


FAILURES: Mapping[str, Advice] = {
    "quorum": Advice(
        "Too few updates came before the deadline.",
        "The round is tried again by itself. See below who was missing, and ask there.",
    ),
    "aborted": Advice("An administrator aborted the run.", "Start a new run when you are ready."),
    "superseded": Advice(
        "Another version was published while the round was open; what the hospitals had sent to it is not used.",
        "The round starts again from that version by itself.",
    ),
    "restored": Advice("The hub was restored from a backup.", "The round is tried again by itself."),
    "head_missing": Advice("The file of the base version is gone.", "Restore the models folder from a backup."),
    "head_damaged": Advice("The file of the base version is damaged.", "Restore the models folder from a backup."),
    "ciphertext_missing": Advice("The file of an accepted update is gone.", "Check the disk of the uploads folder."),
}


def failure(reason: str, *, goes_on: bool = True) -> Advice:
    """Return what a failed round's reason means; `goes_on`: its run is running and tries again."""
    known = FAILURES.get(
        reason, Advice(f"The round failed ({reason}).", "The hub's log has the details; the run tries again by itself.")
    )
    if goes_on or "by itself" not in known.step:
        return known
    return replace(known, step=_MISSING if reason == "quorum" else _NOT_AGAIN)


_MISSING = "Ask the hospitals that were missing. The round is tried again when a run goes on."
_NOT_AGAIN = "It is tried again when the run is resumed, or with a new run."


# Setting of a federation -> what it does.
SETTINGS: Mapping[str, str] = {
    "min_updates": "updates that make a round, and agents that must be online for one to open",
    "grace": "seconds a round waits for the others after that many",
    "deadline": "seconds from a round's first update to its end",
    "selection": "whom a round asks of the agents online: all; random, a part by chance; freshness, a part, those "
    "first whose last used update is oldest",
    "selection_fraction": "which part: updates wanted of the agents online, at least min_updates; not with all",
    "over_select": "agents asked beyond that, as a part of it: the round closes with the first; not with all",
    "absent_after": "rounds in a row without a hospital after which none waits for it, until it is back; 0: each does",
    "evaluate_quorum": "agents that judge a candidate before it is published; 0: none",
    "evaluate_deadline": "seconds they have for it",
    "gate_margin": "how much less accurate a candidate may be than its base",
    "rule": "how updates are averaged: fedavg by samples, mean plainly",
    "server_momentum": "share of the last round's movement that a round carries on; 0: none (plain averaging)",
    "epochs": "local epochs a round, for runs that start later",
    "batch_size": "scans in a training step, likewise",
    "learning_rate": "of Adam, likewise",
    "mirror": "yes or no: whether scans are also shown mirrored left to right, likewise",
}

Facts = Mapping[str, Any]


# The names in braces are facts of the entry, and `of`, `refusal`, `failure` and `settings` made of them.
EVENTS: Mapping[str, str] = {
    "agent.enrol": "enrolled an agent",
    "agent.revoked": "revoked an agent",
    "code.issue": "issued an enrolment code",
    "code.expired": "{ended}",
    "code.used": "used an enrolment code",
    "federation.configure": "changed the federation's settings: {settings}",
    "federation.create": "made the federation",
    "federation.join": "let a hospital join the federation",
    "hospital.create": "added a hospital",
    "hospital.absent": "waits no longer for {hospital}, which was missing from {missed} rounds in a row",
    "hospital.back": "counts on {hospital} again",
    "run.start": "started a run of {rounds} rounds",
    "run.running": "resumed the run",
    "run.paused": "paused the run{because}",
    "run.done": "ended the run: all its rounds are done",
    "run.aborted": "aborted the run",
    "round.open": "opened round {number}, expecting {expected} agents",
    "round.call": "asked {called} more agents: of those chosen too few are there",
    "round.aggregating": "closed the round with {accepted} updates",
    "round.evaluating": "aggregated {updates} updates",
    "round.published": "ended the round with a new version",
    "round.held": "ended the round; its version is held",
    "round.failed": "ended the round without a version: {failure}",
    "round.erase": "erased the round's key",
    "update.received": "returned its update",
    "update.accepted": "accepted an update{of}",
    "update.counted": "counted an update",
    "update.consumed": "took an update into the new version",
    "update.refused": "refused an update{of}: {refusal}",
    "step.parked": "gave up a step after {tries} tries: {step}",
    "step.retry": "had a step tried again that was given up: {step}",
    "evaluation.open": "asked the agents to evaluate a version",
    "evaluation.report": "reported on a version",
    "evaluation.counted": "counted a report",
    "evaluation.close": "ended the evaluation",
    "version.candidate": "made a candidate version",
    "version.propose": "proposed a version",
    "version.decide": "was refused to decide about an own version",
    "version.published": "published version {number}{made_of}",
    "version.held": "held a version back",
    "version.rejected": "rejected a version",
    "version.rollback": "rolled back to version {to}{why}",
    "version.alarm": "raised an alarm: a version is worse than its parent",
    "version.alarm_figures": "measured why: {found}",
    "version.validated": "measured a version on the validation set: {right} of {scans} scans right",
    "version.calibrated": "calibrated a version on the validation set: temperature {temperature}",
    "version.seed": "made the first version: seeded, not trained",
    "version.model_written": "wrote the model file",
    "version.exported": "wrote the model for the page that analyses a scan",
    "version.download": "downloaded the model",
    "reading.ask": "sent a scan to the hub to be read",
    "reading.answer": "read a scan on the hub and kept nothing of it",
    "key.create": "made a key",
    "key.active": "put a key to use",
    "key.decrypt_only": "replaced a key",
    "key.destroyed": "destroyed a key",
    "first_admin.link": "made the link for the first administrator",
    "model_upload.received": "handed in a model to be read",
    "model_upload.reading": "began to read an uploaded model",
    "model_upload.proposed": "read an uploaded model: it is proposed",
    "model_upload.refused": "refused an uploaded model ({code})",
    "hospital.workbench": "switched a hospital's workbench on or off",
    "job.create": "began a fine-tuning job",
    "job.scans": "brought {added} scans to a job",
    "job.scan_removed": "removed a scan from a job",
    "job.queued": "sent a job of {scans} scans to the worker{then}",
    "job.preparing": "began to prepare a job's scans",
    "job.training": "began to train in a job",
    "job.done": "finished a fine-tuning job",
    "job.proposed": "proposed what a job trained",
    "job.not_proposed": "could not propose what a job trained ({code})",
    "job.failed": "ended a job that failed ({code})",
    "job.cancelled": "cancelled a job ({code})",
    "job.erase": "deleted the {scans} scans of a job and their key",
    "validation_set.begin": "began to bring a validation set",
    "validation_set.scans": "brought {added} scans to a validation set",
    "validation_set.preparing": "sent a validation set of {scans} scans to the worker",
    "validation_set.ready": "put a validation set of {scans} scans to use",
    "validation_set.replaced": "replaced the validation set",
    "validation_set.deleted": "deleted a validation set",
    "validation_set.failed": "ended a validation set that cannot be used ({code})",
    "validation_set.erase": "deleted the {scans} scans of a validation set and their key",
    "lease.take": "took the fine-tuning lease",
    "lease.released": "ended the fine-tuning lease",
    "lease.expired": "let the fine-tuning lease expire",
    "login.lock": "was locked out after wrong passwords",
    "login.ok": "signed in",
    "login.end": "signed out",
    "login.refused": "tried to sign in and was refused",
    "token.issue": "signed in by a program",
    "token.end": "ended a program's token",
    "confirm.refused": "was asked who it is, and gave a wrong answer",
    "second_factor.enrol": "set up a second factor",
    "second_factor.off": "turned the second factor off",
    "second_factor.reset": "reset a person's second factor",
    "second_factor.recovery": "used a recovery code; {left} are left",
    "second_factor.recovery_codes": "made new recovery codes",
    "member.add": "added a person to a hospital",
    "member.remove": "removed a person from a hospital",
    "person.create": "added a person",
    "person.activate": "switched a person's account on",
    "person.deactivate": "switched a person's account off",
    "person.password": "changed a password",
    "person.sign_out": "signed a person out everywhere",
    "password.link": "made a one-time link for a new password",
    "person.role": "changed a person's role",
    "audit.verify": "asked to have the audit verified",
    "audit.verified": "verified the audit: {entries} entries and {checkpoints} checkpoints hold",
    "audit.broken": "verified the audit: it does not hold at entry {bad_seq}",
    "audit.contradicted": "holds a checkpoint of entry {seq} that this audit contradicts",
    "audit.export": "exported the whole audit",
    "command.run": "was used: {command}, by the account {account}",
    "backup.create": "made a backup",
    "backup.restore": "restored a backup",
}


# What was not done.
DENIED: Mapping[str, str] = {
    "person.password": "gave a wrong present password, and changed nothing",
}


class _Known(dict[str, Any]):
    """Facts, where one that is missing reads as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def sentence(action: str, facts: Facts, outcome: str = "ok") -> str:
    """Return what an event's actor did, or was refused; the action itself where there is no better word."""
    told = DENIED.get(action) if outcome == "denied" else None
    told = told or EVENTS.get(action)
    if told is None and " " in action:
        return told_call(action, str(facts.get("code", "?")))
    if told is None and action.startswith("admin."):
        return told_admin(action)
    if told is None:
        return action.replace(".", ": ").replace("_", " ")
    known = _Known(facts)
    known["why"] = f": {facts['reason']}" if facts.get("reason") else ""
    known["of"] = f" of {facts['hospital']}" if "hospital" in facts else ""
    known["then"] = ", to be proposed when it is done" if facts.get("propose") else ""
    known["made_of"] = f", made of the updates of {facts['agents']} agents" if "agents" in facts else ""
    known["refusal"] = refusal(str(facts.get("code", ""))).cause
    known["failure"] = failure(str(facts.get("reason", ""))).cause
    known["ended"] = "withdrew an enrolment code" if facts.get("withdrawn") else "let an enrolment code expire"
    known["settings"] = _settings(facts)
    known["because"] = f": {FAILURES[reason].cause}" if (reason := str(facts.get("reason"))) in FAILURES else ""
    return counted(told.format_map(known))


_PLURALS = re.compile(r"(?<![\w.])1 (agent|update|round|scan|checkpoint|entrie)s\b( hold\b)?")


def counted(text: str) -> str:
    """Return a sentence with one of a thing in the singular."""
    told = _PLURALS.sub(lambda found: f"1 {found[1].replace('entrie', 'entry')}{' holds' if found[2] else ''}", text)
    return told.replace("; 1 are", "; 1 is").replace("1 agent are", "1 agent is")


def _settings(facts: Facts) -> str:
    """Return what was set, and what it was until then; entries of older hubs lack that."""
    changed = [name for name in facts if name in SETTINGS]
    return ", ".join(
        f"{name.replace('_', ' ')} {facts[name]}" + (f" (was {facts[f'was_{name}']})" if f"was_{name}" in facts else "")
        for name in changed
    )
