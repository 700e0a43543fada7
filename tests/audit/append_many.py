"""One of several processes that append to the same audit at once: `append_many.py COUNT NAME`."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")

import django

django.setup()

from django.contrib.auth.models import Group  # noqa: E402 - after setup()

from apps.audit.api import deny, record, transaction  # noqa: E402

count, name = int(sys.argv[1]), sys.argv[2]
sys.stdin.readline()  # everybody starts together
for number in range(count):
    with transaction():
        group = Group.objects.create(name=f"{name}-{number}")
        record("group.create", actor=f"system:{name}", obj=group)
    if number % 10 == 0:
        deny("group.refused", code=f"test-{number}", actor=f"system:{name}")
