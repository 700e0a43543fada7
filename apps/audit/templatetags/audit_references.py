"""How pages write the audit's references."""

import json

from django import template

register = template.Library()
SHOWN = 8


@register.filter
def short_reference(reference: str) -> str:
    """Return "round 7ef69579" for "round:7ef69579-0051-…": the kind, and as much of a long id as tells it apart."""
    kind, _, identity = reference.partition(":")
    return f"{kind} {identity[:SHOWN]}".strip()


@register.filter
def fact(value: object) -> str:
    """Return a fact as it stands in a body: true, false and null in JSON's spelling, everything else as it reads."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
