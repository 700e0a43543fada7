"""One of several processes that append to the same audit at once: `append_many.py COUNT NAME [THREADS]`."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")

import django

django.setup()

from django.contrib.auth.models import Group  # noqa: E402 - after setup()
from django.db import connections  # noqa: E402

from apps.audit.api import deny, record, transaction  # noqa: E402

count, name, threads = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1


def append(writer: str) -> None:
    for number in range(count):
        with transaction():
            group = Group.objects.create(name=f"{writer}-{number}")
            record("group.create", actor=f"system:{writer}", obj=group)
        if number % 10 == 0:
            deny("group.refused", code=f"test-{number}", actor=f"system:{writer}")
    connections.close_all()


sys.stdin.readline()  # everybody starts together
with ThreadPoolExecutor(threads) as pool:
    for done in [pool.submit(append, f"{name}-{thread}") for thread in range(threads)]:
        done.result()
