"""The entries of the audit and the one row that says where their chain ends."""

from typing import Any, NoReturn

from django.db import models

GENESIS = "0" * 64


class AuditHead(models.Model):
    """The end of the chain: a single row. Whoever appends updates it first, so that appends stand in one line."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    seq = models.BigIntegerField(default=0)
    entry_hash = models.CharField(max_length=64, default=GENESIS)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="audit_head_single")]

    def __str__(self) -> str:
        return f"audit head at {self.seq}"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Reads on the audit."""

    def visible_as(self, visibilities: list[str] | None) -> "AuditEntryQuerySet":
        """Return the entries with one of these visibilities; None means all of them (an administrator)."""
        return self.all() if visibilities is None else self.filter(visibility__in=visibilities)

    def first_visible(
        self, limit: int, visibilities: list[str] | None, *, newest_first: bool = True
    ) -> list["AuditEntry"]:
        """Return the newest of these entries that may be seen so, or the oldest.

        Each visibility is asked for by itself, which its index answers in order; of all at once SQLite sorts every row.
        """
        order = "-seq" if newest_first else "seq"
        if visibilities is None:
            return list(self.order_by(order)[:limit])
        found = [entry for word in visibilities for entry in self.filter(visibility=word).order_by(order)[:limit]]
        return sorted(found, key=lambda entry: entry.seq, reverse=newest_first)[:limit]


class AuditEntry(models.Model):
    """One thing that happened.

    `body` is the truth: canonical JSON, stored as it was hashed. entry_hash = SHA-256(0x00 || body); the body holds
    `seq` and the previous entry's hash. The other columns are copies for searching, and `verify` compares them.
    """

    seq = models.BigIntegerField(primary_key=True)
    body = models.BinaryField()
    prev_hash = models.CharField(max_length=64, unique=True)
    entry_hash = models.CharField(max_length=64, unique=True)
    ts_us = models.BigIntegerField(db_index=True)
    actor = models.CharField(max_length=100, db_index=True)
    action = models.CharField(max_length=60, db_index=True)
    object = models.CharField(max_length=120, blank=True, db_index=True)
    outcome = models.CharField(max_length=20)
    visibility = models.CharField(max_length=60, db_index=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["seq"]
        indexes = [models.Index(fields=["visibility", "seq"], name="audit_visible_in_order")]
        constraints = [models.CheckConstraint(condition=models.Q(seq__gte=1), name="audit_entry_from_one")]

    def __str__(self) -> str:
        return f"{self.seq} {self.action}"

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: what happened cannot be made not to have happened."""
        raise TypeError("Audit entries cannot be deleted.")


class Checkpoint(models.Model):
    """A signed statement of where the chain stood: whoever kept one finds out if history before it is rewritten.

    `body` is what was signed: canonical JSON of v, seq, entry_hash, ts_us and kid (docs/audit.md).
    """

    seq = models.BigIntegerField(primary_key=True)
    body = models.BinaryField()
    signature = models.BinaryField(max_length=64)
    ts_us = models.BigIntegerField()

    class Meta:
        ordering = ["seq"]

    def __str__(self) -> str:
        return f"checkpoint at {self.seq}"

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: somebody may have kept it."""
        raise TypeError("Audit checkpoints cannot be deleted.")
