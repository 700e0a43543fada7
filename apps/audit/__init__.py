"""The tamper-evident audit: what happened, who did it, in the same commit as the change itself."""
