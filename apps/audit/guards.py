"""Triggers that keep entries and checkpoints from being changed or deleted by whoever uses the database normally."""

from django.db.backends.base.base import BaseDatabaseWrapper

HEAD = "audit_audithead"
# Table -> the prefix of its triggers' names, and what is said to whoever tries.
GUARDED = {
    "audit_auditentry": ("audit", "audit entries cannot be changed or deleted"),
    "audit_checkpoint": ("checkpoint", "audit checkpoints cannot be changed or deleted"),
}


def _install(vendor: str, table: str, prefix: str, said: str) -> list[str]:
    if vendor == "sqlite":
        return [
            f"CREATE TRIGGER IF NOT EXISTS {prefix}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    raising = f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
    call = f"EXECUTE FUNCTION {prefix}_refuse()"
    return [
        f"CREATE OR REPLACE FUNCTION {prefix}_refuse() RETURNS trigger LANGUAGE plpgsql AS {raising}",
        f"CREATE OR REPLACE TRIGGER {prefix}_no_update BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {call}",
        f"CREATE OR REPLACE TRIGGER {prefix}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}",
    ]


def _remove(vendor: str, table: str, prefix: str) -> list[str]:
    if vendor == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {prefix}_no_{verb}" for verb in ("update", "delete")]
    return [f"DROP TRIGGER IF EXISTS {prefix}_no_{verb} ON {table}" for verb in ("update", "truncate")]


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers where they are missing, of the tables that are there. Raises KeyError for other databases."""
    for table in _present(connection):
        _run(connection, _install(connection.vendor, table, *GUARDED[table]))


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers: for a migration that must rewrite a table, and for tests that empty it."""
    for table in _present(connection):
        _run(connection, _remove(connection.vendor, table, GUARDED[table][0]))


def _present(connection: BaseDatabaseWrapper) -> list[str]:
    if connection.vendor not in {"sqlite", "postgresql"}:
        raise KeyError(connection.vendor)
    # An early migration installs them while later tables are not there yet.
    tables = connection.introspection.table_names()
    return [table for table in GUARDED if table in tables]


def _run(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
