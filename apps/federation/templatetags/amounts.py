"""How pages write times, sizes and names."""

from django import template

from hospintel_core.architectures import class_word

register = template.Library()
register.filter("class_word", class_word)
UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# Between a number and its sign no line ends.
PER_CENT = "\N{NO-BREAK SPACE}%"
MINUTE, HOUR = 60, 3600
KILO = 1000


@register.filter
def duration(seconds: float | None) -> str:
    """Return seconds as people say them: 0.25 s, 12 s, 3 min 20 s, 2 h 5 min; a dash for None."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:  # noqa: PLR2004 - below that, fractions matter
        return f"{seconds:.2f} s"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"


@register.filter
def size(count: int | None) -> str:
    """Return a number of bytes with a decimal unit; a dash for None."""
    if count is None:
        return UNKNOWN
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < KILO or unit == "GB":
            break
        amount /= KILO
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


@register.filter
def percent(share: float | None) -> str:
    """Return a share of 1 in per cent; a dash for None."""
    return UNKNOWN if share is None else f"{share * 100:.1f}{PER_CENT}"


@register.filter
def signed(value: float | None) -> str:
    """Return a number with its sign and three decimals; a dash for None."""
    return UNKNOWN if value is None else _signed(f"{value:+.3f}")


@register.filter
def points(share: float | None) -> str:
    """Return a difference of shares of 1 in points of per cent, with its sign; a dash for None."""
    return UNKNOWN if share is None else _signed(f"{share * 100:+.1f}")


def _signed(text: str) -> str:
    return text[1:] if not float(text) else text.replace("-", MINUS)
