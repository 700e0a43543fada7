"""One Celery worker: `python -m hospintel_site.worker default|training`."""

import os
import sys
import warnings

from celery.exceptions import SecurityWarning

from hospintel_site.celery import app
from hospintel_site.lifetime import end_with_supervisor

# Training takes every core and gigabytes; one at a time. The others are short.
CONCURRENCY = {"default": 2, "training": 1}


def main() -> None:
    """Work on one queue until SIGTERM, which lets the running task end."""
    os.umask(0o077)
    end_with_supervisor()
    queue = sys.argv[1] if len(sys.argv) > 1 else ""
    if queue not in CONCURRENCY:
        sys.exit(f"error: there is no queue {queue!r}; choose one of {', '.join(CONCURRENCY)}.")
    # Said for the sake of object formats that run code when read; ours is JSON alone.
    warnings.simplefilter("ignore", SecurityWarning)
    # Prefork: a solo pool would lose its task when it is stopped. TensorFlow is imported inside tasks alone: once it
    # has worked, it does not survive a fork.
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={queue}",
            f"--hostname={queue}@%h",
            "--pool=prefork",
            f"--concurrency={CONCURRENCY[queue]}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


if __name__ == "__main__":
    main()
