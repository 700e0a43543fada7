"""Where a job's scans lie, until the job ends."""

from apps.federation.pipeline.vault import Vault, VaultError

__all__ = ["JOBS", "VaultError", "create", "erase", "kept", "path", "read", "remove", "write"]

JOBS = Vault("jobs", "scans", gone="The job has ended, and its scans are deleted.")
create, erase, kept = JOBS.create, JOBS.erase, JOBS.kept
path, read, remove, write = JOBS.path, JOBS.read, JOBS.remove, JOBS.write
