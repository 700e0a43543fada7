"""Where a job's scans lie, until the job ends."""

from apps.federation.pipeline.vault import Vault, VaultError

__all__ = ["JOBS", "VaultError", "create", "erase", "kept", "name", "read", "remove", "write"]

JOBS = Vault("jobs", "scans", gone="The job has ended, and its scans are deleted.")
create, erase, kept = JOBS.create, JOBS.erase, JOBS.kept
name, read, remove, write = JOBS.name, JOBS.read, JOBS.remove, JOBS.write
