"""What the calls answer, for the OpenAPI document: nothing is read or written through these."""

from rest_framework import serializers

from apps.federation.states import RoundState, RunState, UpdateState, VersionState
from hospintel_site.openapi import Alive, refusals

# Calls of agents may answer these whatever else they do; so may calls of signed-in people.
NO_AGENT = {401: "token_missing token_invalid", 403: "agent_revoked"}
NO_PERSON = {401: "token_invalid", 403: "not_authenticated permission_denied"}
DIGEST = "SHA-256 in hex."


def agent_refusals(more: dict[int, str] | None = None) -> dict[int, object]:
    """Return the refusals of an agent's call: those of all, and `more`."""
    return dict(refusals({**NO_AGENT, **(more or {})}))


def person_refusals(more: dict[int, str] | None = None) -> dict[int, object]:
    """Return the refusals of a signed-in person's call: those of all, and `more`."""
    more = more or {}
    both = {status: f"{codes} {more.get(status, '')}".strip() for status, codes in NO_PERSON.items()}
    return dict(refusals({**more, **both}))


class Status(serializers.Serializer[None]):
    """Where a federation stands, and nothing about any one hospital."""

    round = serializers.IntegerField(help_text="Number of the newest round in its run; 0 before the first.")
    pending_updates = serializers.IntegerField(help_text="Updates of the round in progress that wait to be used.")
    required_updates = serializers.IntegerField(help_text="How many a round needs.")
    clients_online = serializers.IntegerField(help_text="Agents that have asked for work lately.")
    state = serializers.CharField(help_text="The round's state, or IDLE.")
    deadline = serializers.DateTimeField(allow_null=True, help_text="When the round closes at the latest.")
    version = serializers.IntegerField(allow_null=True, help_text="Number of the current model.")
    model = serializers.CharField(allow_null=True, help_text=f"Digest of the current model's head: {DIGEST}")
    architecture = serializers.CharField()


class IdentityLink(serializers.Serializer[None]):
    """One identity of the hub, signed by the one before."""

    kid = serializers.CharField(help_text="Key id in hex.")
    public_key = serializers.CharField(help_text="Ed25519, 32 raw bytes in base64.")
    pem = serializers.CharField()
    signed_by = serializers.CharField(help_text="Key id in hex; empty for the first.")
    signature = serializers.CharField(help_text="Base64; empty for the first.")


class Identity(serializers.Serializer[None]):
    """All identities, newest first."""

    chain = IdentityLink(many=True)


class Task(serializers.Serializer[None]):
    """A signed manifest: what to train or evaluate (docs/wire-format.md)."""

    manifest = serializers.CharField(help_text="Canonical JSON, exactly the bytes that are signed.")
    signature = serializers.CharField(help_text="Ed25519, base64.")
    kid = serializers.CharField(help_text="Id of the hub's identity key in hex.")


class OwnUpdate(serializers.Serializer[None]):
    """What has become of the agent's own update."""

    state = serializers.ChoiceField(UpdateState.choices, allow_null=True, help_text="Null before it is whole.")
    code = serializers.CharField(help_text="Why it was refused, or empty.")
    detail = serializers.CharField(help_text="The same as a sentence.")
    received = serializers.IntegerField(help_text="Bytes that are here: go on from there.")


class OwnUpdateLookup(OwnUpdate):
    """The update, what is left, and the round."""

    attempts_left = serializers.IntegerField(help_text="How many more updates this round takes of this agent.")
    round_state = serializers.ChoiceField(RoundState.choices)
    round_reason = serializers.CharField(
        help_text="Why a failed round ended, such as `superseded` or `aborted`: its updates are not used. Else empty."
    )


class PartReceived(serializers.Serializer[None]):
    """A part is here, the upload is not whole."""

    received = serializers.IntegerField()


class UpdateAccepted(serializers.Serializer[None]):
    """The original answer to an upload."""

    status = serializers.CharField(help_text="`accepted`")
    message = serializers.CharField()


class Recorded(serializers.Serializer[None]):
    """The report is kept."""

    state = serializers.CharField(help_text="`recorded`")


class RunAnswer(serializers.Serializer[None]):
    """A run."""

    id = serializers.UUIDField()
    rounds = serializers.IntegerField(help_text="How many published rounds are wanted.")
    state = serializers.ChoiceField(RunState.choices)
    plan = serializers.DictField(help_text="epochs, batch_size, learning_rate, seed, mirror")


class VersionAnswer(serializers.Serializer[None]):
    """A version of the model."""

    id = serializers.UUIDField()
    number = serializers.IntegerField(allow_null=True, help_text="Given at publication.")
    state = serializers.ChoiceField(VersionState.choices)
    digest = serializers.CharField(help_text=DIGEST)
    verdict = serializers.CharField(help_text="What the gate or an admin said.")


class Event(serializers.Serializer[None]):
    """One audit entry without the chain's own fields."""

    seq = serializers.IntegerField()
    ts_us = serializers.IntegerField(help_text="Microseconds since 1970, UTC.")
    action = serializers.CharField()
    actor = serializers.CharField()
    object = serializers.CharField()
    objects = serializers.ListField(child=serializers.CharField())
    outcome = serializers.CharField(help_text="`ok` or `denied`")
    visibility = serializers.CharField(help_text="`everyone`, `hospital:<id>` or `admin`")
    facts = serializers.DictField()


class Events(serializers.Serializer[None]):
    """Oldest first, at most 100; ask again from the last number."""

    events = Event(many=True)


class Active(Alive):
    """The original sign of life."""

    message = serializers.CharField()


class CopyAnswer(serializers.Serializer[None]):
    """A file that is here already."""

    place = serializers.CharField()
    number = serializers.IntegerField(help_text="Of the scan that shows the same.")


class ProblemAnswer(serializers.Serializer[None]):
    """A file that was left out."""

    place = serializers.CharField(help_text="Its place in what was sent: `2`, or `2, entry 5` of a zip file.")
    code = serializers.CharField()
    detail = serializers.CharField()
