"""The second factor: codes of an app (TOTP, RFC 6238, computed by django-otp), and recovery codes in its place.

What is stored cannot be used without HOSPINTEL_OTP_KEY, which is not in the database: secrets are encrypted with
AES-256-GCM, recovery codes hashed with HMAC-SHA256. Each code is used once, by one conditional UPDATE or DELETE.
"""

import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from urllib.parse import quote, urlencode

import segno
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils.crypto import constant_time_compare
from django_otp.oath import hotp

from apps.accounts.models import RecoveryCode, SecondFactor, SessionEnd, User, ending
from apps.accounts.pipeline.lockout import release_codes, take_code
from apps.accounts.pipeline.people import AccountError, end_tokens
from apps.audit.api import record, transaction

logger = logging.getLogger(__name__)
ISSUER = "Hospintel"
STEP_SECONDS, DIGITS = 30, 6
# Steps that a phone's clock may be off, either way.
TOLERANCE = 1
SECRET_BYTES, NONCE_BYTES = 20, 12
RECOVERY_CODES, RECOVERY_LETTERS = 10, 10
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_APP_CODE = re.compile(rf"\d{{{DIGITS}}}")


def new_secret(user: User) -> str:
    """Return a fresh secret for a person's app, sealed; it is worth nothing until `enrol` was given a code of it."""
    return _seal(secrets.token_bytes(SECRET_BYTES), user)


def shown(sealed: str, user: User) -> tuple[str, str]:
    """Return a sealed secret as people type it and as an image that an app reads (an SVG in a data: address)."""
    secret = _open(sealed, user)
    typed = base64.b32encode(secret).decode()
    fields = {"secret": typed, "issuer": ISSUER, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_SECONDS}
    address = f"otpauth://totp/{quote(f'{ISSUER}:{user.get_username()}')}?{urlencode(fields)}"
    image = segno.make(address, error="m", micro=False).svg_data_uri(scale=4, border=4, dark="#000", light="#fff")
    return " ".join(re.findall("....", typed)), image


def enrol(user: User, sealed: str, code: str) -> list[str]:
    """Set up a person's second factor, and return their recovery codes: nobody sees these again.

    Args:
        user: whose.
        sealed: the secret, by `new_secret`.
        code: what the person's app makes of it now.

    Raises:
        AccountError: `code_wrong`, or `factor_exists` if there is a second factor already.
    """
    step = _step_of(_open(sealed, user), _plain(code), after=-1)
    if step is None:
        raise AccountError("code_wrong", "This is not the code that the app shows now. Is the phone's clock right?")
    codes, rows = _fresh_codes(user)
    with transaction():
        if User.objects.filter(pk=user.pk, has_second_factor=False).update(has_second_factor=True) != 1:
            raise AccountError("factor_exists", "There is a second factor already. Turn it off first.")
        SecondFactor.objects.create(user=user, sealed_secret=sealed, last_step=step)
        RecoveryCode.objects.bulk_create(rows)
        record("second_factor.enrol", actor=user.actor, obj=user, visibility="admin")
    user.has_second_factor = True
    return codes


def renew_recovery_codes(user: User) -> list[str]:
    """Return ten new recovery codes; those before stop working. Raises AccountError(factor_missing)."""
    codes, rows = _fresh_codes(user)
    with transaction():
        # Writing the row holds it: of two at once, one set of codes is left.
        if User.objects.filter(pk=user.pk, has_second_factor=True).update(has_second_factor=True) != 1:
            raise AccountError("factor_missing", "There is no second factor.")
        RecoveryCode.objects.filter(user=user).delete()
        RecoveryCode.objects.bulk_create(rows)
        record("second_factor.recovery_codes", actor=user.actor, obj=user, visibility="admin")
    return codes


def turn_off(user: User) -> None:
    """Remove the own second factor. Raises AccountError(factor_required) where the hub asks administrators for one."""
    with transaction():
        _remove(user)
        user.has_second_factor = False
        if user.must_enrol:
            raise AccountError("factor_required", "Administrators of this hub need a second factor.")
        record("second_factor.off", actor=user.actor, obj=user, visibility="admin")


def reset(user: User, *, actor: str) -> None:
    """Remove a person's second factor, for who lost phone and recovery codes, and sign them out.

    Raises:
        AccountError: `factor_missing` if there is none.
    """
    with transaction():
        if not _remove(user, **ending(SessionEnd.SECOND_FACTOR)):
            raise AccountError("factor_missing", f"{user} has no second factor.")
        end_tokens(user)
        record("second_factor.reset", actor=actor, obj=user, visibility="admin")
    user.refresh_from_db(fields=["has_second_factor", "session_epoch"])


def is_app_code(user: User, typed: str) -> bool:
    """Return whether what somebody typed looks like a code of their app: no password is that short."""
    return user.has_second_factor and _APP_CODE.fullmatch(_plain(typed)) is not None


def check_code(user: User, typed: str) -> bool:
    """Use up a code of the app or a recovery code. Returns whether it was one.

    Raises:
        Locked: too many wrong ones, from whatever addresses.
        AccountError: `factor_unreadable` where HOSPINTEL_OTP_KEY is another one than it was.
    """
    take_code(user)
    code = _plain(typed)
    right = _use_app_code(user, code) if _APP_CODE.fullmatch(code) else _use_recovery_code(user, code)
    if right:
        release_codes(user)
    return right


def _use_app_code(user: User, code: str) -> bool:
    factor = SecondFactor.objects.filter(user=user).first()
    step = None if factor is None else _step_of(_open(factor.sealed_secret, user), code, after=factor.last_step)
    if step is None:
        return False
    with transaction():
        return SecondFactor.objects.filter(user=user, last_step__lt=step).update(last_step=step) == 1


def _use_recovery_code(user: User, code: str) -> bool:
    with transaction():
        if RecoveryCode.objects.filter(user=user, code_hash=_hash(code, user)).delete()[0] != 1:
            return False
        left = RecoveryCode.objects.filter(user=user).count()
        record("second_factor.recovery", actor=user.actor, obj=user, visibility="admin", left=left)
    return True


def _remove(user: User, **more: str) -> bool:
    removed = User.objects.filter(pk=user.pk, has_second_factor=True).update(has_second_factor=False, **more)
    SecondFactor.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    return removed == 1


def _step_of(secret: bytes, code: str, *, after: int) -> int | None:
    """Return the time step whose code this is, near now and later than the step `after`."""
    now = int(time.time()) // STEP_SECONDS
    for step in range(max(now - TOLERANCE, after + 1), now + TOLERANCE + 1):
        if constant_time_compare(f"{hotp(secret, step, DIGITS):0{DIGITS}d}", code):
            return step
    return None


def _plain(typed: str) -> str:
    """Return a code without what people put in between."""
    return re.sub(r"[\s-]", "", typed).lower()


def _fresh_codes(user: User) -> tuple[list[str], list[RecoveryCode]]:
    """Return ten recovery codes of 50 bits as they are shown, and their rows."""
    codes = ["".join(secrets.choice(ALPHABET) for _ in range(RECOVERY_LETTERS)) for _ in range(RECOVERY_CODES)]
    middle = RECOVERY_LETTERS // 2
    rows = [RecoveryCode(user=user, code_hash=_hash(code, user)) for code in codes]
    return [f"{code[:middle]}-{code[middle:]}" for code in codes], rows


def _key(purpose: str) -> bytes:
    return hmac.digest(settings.OTP_KEY.encode(), f"hospintel.second_factor.{purpose}".encode(), hashlib.sha256)


def _hash(code: str, user: User) -> str:
    text = f"{user.pk}\0{code}".encode(errors="replace")
    return hmac.new(_key("recovery"), text, hashlib.sha256).hexdigest()


def _seal(secret: bytes, user: User) -> str:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(_key("secret")).encrypt(nonce, secret, str(user.pk).encode())).decode()


def _open(sealed: str, user: User) -> bytes:
    raw = base64.b64decode(sealed)
    try:
        return AESGCM(_key("secret")).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], str(user.pk).encode())
    except InvalidTag:
        logger.error("The second factor of user:%s cannot be read: HOSPINTEL_OTP_KEY is another one", user.pk)  # noqa: TRY400
        raise AccountError(
            "factor_unreadable",
            "Your second factor cannot be read here: the hub's key for it has changed. Ask an administrator to reset "
            "it, or whoever runs the hub (manage.py reset_second_factor).",
        ) from None
