"""What a process of the hub frees, it does not keep."""

import subprocess
import sys

from hospintel_site.memory import give_back

# What is small and stays, after each large block that goes: it would pin the heap that the block came from.
SCRIPT = """
import sys
from hospintel_site.memory import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "back":
    assert give_back()
bytes(24_000_000)
kept, before = [], resident()
large = []
for number in range(8):
    large.append(b"x" * 8_000_000)
    kept.append(b"y" * 100_000)
del large
print(resident() - before)
"""


def kept_after_64_megabytes(how):
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_blocks_go_back_to_the_system_at_once():
    assert kept_after_64_megabytes("back") < 8e6
    # Without it they would not: else there is nothing to do here any more.
    assert kept_after_64_megabytes("kept") > 24e6


def test_it_can_be_asked_for_twice():
    assert give_back() == give_back()
