"""How many wrong passwords somebody may try: counted in the database, before the password is looked at.

Two counts, each over one window: of a name from one address, and of an address over all names. A victim is locked out
from the attacker's address alone. Codes of a second factor are counted as passwords are, and once more for each person
wherever they come from: who gets that far has the password, and codes are short. An attempt is taken by one conditional
UPDATE, so that of any number of attempts at the same moment no more than the limit get as far as the password.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

from django.conf import settings
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone
from django.utils.crypto import salted_hmac

from apps.accounts.models import LoginAttempts, User
from apps.accounts.pipeline.people import AccountError
from apps.audit.api import transaction

# Whoever has an IPv6 address usually has its whole network of 64 bits.
IPV6_PREFIX = 64
# So many times the attempts of one address, whatever the addresses.
CODES_OF_A_NAME = 3


class Locked(AccountError):  # noqa: N818 - as Conflict: an answer, not a fault
    """Too many wrong passwords; `retry_after` is the number of seconds until the next one may be tried."""

    def __init__(self, until: datetime) -> None:
        self.retry_after = max(1, ceil((until - timezone.now()).total_seconds()))
        minutes = ceil(self.retry_after / 60)
        soon = f"{minutes} minute{'s' if minutes > 1 else ''}"
        super().__init__(
            "login_locked",
            f"Too many wrong passwords or codes. Try again in {soon}, "
            "or ask an administrator for a link that sets a new password.",
        )


@dataclass(frozen=True)
class Attempt:
    """One attempt that was taken; `is_last` says that the name has no further one from this address."""

    name_key: str
    address_key: str
    is_last: bool


def take(username: str, address: str) -> Attempt:
    """Take one attempt of this name from this address. Raises Locked where none is left."""
    network = _network(address)
    # A name may be a password that was typed into the wrong field: it is kept as a keyed hash only.
    name_key, address_key = _key("name", username, network), _key("address", network)
    limits = {address_key: settings.LOGIN_ATTEMPTS_OF_ADDRESS, name_key: settings.LOGIN_ATTEMPTS}
    _refuse_if_full(limits)
    with transaction():
        # The address first, always: no two transactions wait for each other's row.
        for key, limit in limits.items():
            _count(key, limit)
        used = LoginAttempts.objects.values_list("count", flat=True).get(key=name_key)
    return Attempt(name_key, address_key, is_last=used >= settings.LOGIN_ATTEMPTS)


def take_code(user: User) -> None:
    """Take one attempt at a person's second factor, from wherever. Raises Locked where none is left."""
    with transaction():
        _count(_code_key(user), CODES_OF_A_NAME * settings.LOGIN_ATTEMPTS)


def release_codes(user: User) -> None:
    """Start a person's codes anew: one was right."""
    with transaction():
        LoginAttempts.objects.filter(key=_code_key(user)).delete()


def give_back(attempt: Attempt) -> None:
    """Give one attempt back whose password was right but not enough: what was counted before it stays."""
    with transaction():
        for key in (attempt.address_key, attempt.name_key):
            LoginAttempts.objects.filter(key=key, count__gt=0).update(count=F("count") - 1)


def release(attempt: Attempt) -> None:
    """Give an attempt back whose password was right: the name starts anew, the address has this one again."""
    with transaction():
        LoginAttempts.objects.filter(key=attempt.address_key, count__gt=0).update(count=F("count") - 1)
        LoginAttempts.objects.filter(key=attempt.name_key).delete()


def forget_old_attempts() -> int:
    """Delete counts whose window is over. Returns how many."""
    over = LoginAttempts.objects.filter(until__lte=timezone.now())
    if not over.exists():
        # Looked at all the time: nothing is written for nothing.
        return 0
    with transaction():
        return over.delete()[0]


def _refuse_if_full(limits: dict[str, int]) -> None:
    """Refuse by a look alone: a flood of attempts must not keep the database writing."""
    for counted in LoginAttempts.objects.filter(key__in=limits, until__gt=timezone.now()):
        if counted.count >= limits[counted.key]:
            raise Locked(counted.until)


def _count(key: str, limit: int) -> None:
    now = timezone.now()
    end = now + timedelta(minutes=settings.LOGIN_MINUTES)
    LoginAttempts.objects.bulk_create([LoginAttempts(key=key, count=0, until=end)], ignore_conflicts=True)
    over = Q(until__lte=now)
    taken = LoginAttempts.objects.filter(Q(count__lt=limit) | over, key=key).update(
        count=Case(When(over, then=Value(1)), default=F("count") + 1),
        until=Case(When(over, then=Value(end)), default=F("until")),
    )
    if taken != 1:
        # Where the row is gone by now, somebody with the right password was released just then.
        raise Locked(LoginAttempts.objects.filter(key=key).values_list("until", flat=True).first() or now)


def _code_key(user: User) -> str:
    return _key("code", str(user.pk))


def _network(address: str) -> str:
    """Return whom an address stands for: itself, or its IPv6 network."""
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Network((int(found), IPV6_PREFIX), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


def _key(*parts: str) -> str:
    text = "\0".join(part.encode(errors="replace").decode() for part in parts)
    return salted_hmac("hospintel.lockout", text, algorithm="sha256").hexdigest()
