"""Triggers that keep entries and checkpoints from being changed, replaced or deleted by whoever uses the database."""

from django.db.backends.base.base import BaseDatabaseWrapper

HEAD = "audit_audithead"
# Table -> the prefix of its triggers' names, what is said to whoever tries, and its unique columns.
GUARDED = {
    "audit_auditentry": ("audit", "audit entries cannot be changed or deleted", ("seq", "prev_hash", "entry_hash")),
    "audit_checkpoint": ("checkpoint", "audit checkpoints cannot be changed or deleted", ("seq",)),
}


def _install(vendor: str, table: str, prefix: str, said: str, unique: tuple[str, ...]) -> list[str]:
    if vendor == "sqlite":
        refusing = f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
        taken = " OR ".join(f"{column} = NEW.{column}" for column in unique)
        # INSERT OR REPLACE deletes what stands in its way, and fires no trigger for it.
        replacing = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken})"  # noqa: S608 - names from the table above
        return [
            f"CREATE TRIGGER IF NOT EXISTS {prefix}_no_update BEFORE UPDATE ON {table} {refusing}",
            f"CREATE TRIGGER IF NOT EXISTS {prefix}_no_delete BEFORE DELETE ON {table} {refusing}",
            f"CREATE TRIGGER IF NOT EXISTS {prefix}_no_replace BEFORE INSERT ON {table} {replacing} {refusing}",
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
        return [f"DROP TRIGGER IF EXISTS {prefix}_no_{verb}" for verb in ("update", "delete", "replace")]
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
