"""What the machine has: the base's weights, room on the disk, memory, and a processor that TensorFlow can use."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from client_agent.config import write_private
from client_agent.doctor.finding import Finding, Patient, failed, failure, ok, skipped, warning
from client_agent.errors import StorageError, storing
from client_agent.scans import DISK_RESERVE
from hospintel_core.backbone import find_base_weights
from hospintel_core.errors import BaseWeightsError

MIB: Final = 1024 * 1024
MIN_MEMORY: Final = 2 * 1024 * MIB
# The kernel and the firmware keep some of what was bought.
_MEMORY_SLACK: Final = 0.9
# A scan's features, as it is and mirrored, are kept on the disk and in memory.
VIEWS: Final = 2
PROBE_BYTES: Final = 64 * 1024
_X86: Final = frozenset({"x86_64", "amd64", "i686", "i386"})
_CPUINFO: Final = Path("/proc/cpuinfo")
# Where containers and systemd write the limit, by version of cgroups.
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_base_weights(patient: Patient) -> Iterator[Finding]:
    """Whether the base's weights are on this machine, and are the published ones. Nothing is downloaded."""
    model = patient.architecture
    if model.base != "vgg16":
        yield ok("base weights", f"the model {model.name} needs none")
        return
    try:
        source, _ = find_base_weights(patient.weights, download=False)
    except BaseWeightsError as error:
        yield failure("base weights", error)
    else:
        yield ok("base weights", f"the published ones, from {source}", source=source)


def check_disk(patient: Patient) -> Iterator[Finding]:
    """Whether the home can be written, and has room for a round and for the features of all scans."""
    home = patient.home.folder
    if patient.mine and patient.config is not None:
        try:
            with storing(f"into {home}"):
                _probe(home)
        except StorageError as error:
            yield failure("disk", error)
            return
    free = _free_bytes(home)
    if free is None:
        yield skipped("disk", f"{home} does not say how much is free")
        return
    wanted = DISK_RESERVE + max(0, _feature_bytes(patient) - _kept_bytes(patient.home.features))
    found = f"{_mib(free)} free in {home}"
    facts = {"free_bytes": free, "wanted_bytes": wanted}
    if free < DISK_RESERVE:
        remedy = "make room, or move the home (--home) to another disk"
        yield failed("disk", "disk_full", f"{found}, a round needs {_mib(DISK_RESERVE)}", remedy, **facts)
    elif free < wanted:
        remedy = "make room, or each start of the agent computes features again"
        yield warning("disk", "disk_low", f"{found}, with all features kept it takes {_mib(wanted)}", remedy, **facts)
    else:
        yield ok("disk", f"{found}, the agent takes {_mib(wanted)}", **facts)


def check_memory(patient: Patient) -> Iterator[Finding]:
    """Whether TensorFlow and the features of all scans fit into memory."""
    total = _total_memory()
    if total is None:
        yield skipped("memory", "this system does not say how much there is")
        return
    base = MIN_MEMORY if patient.architecture.base == "vgg16" else 0
    wanted = base + _feature_bytes(patient)
    facts = {"total_bytes": total, "wanted_bytes": wanted}
    found = f"{_mib(total)}, the agent takes up to {_mib(wanted)}"
    if total < wanted * _MEMORY_SLACK:
        remedy = "give the machine (or the container, or MemoryMax of the service) more memory, or use fewer scans"
        yield warning("memory", "memory_low", found, remedy, **facts)
    else:
        yield ok("memory", found, **facts)


def check_processor(patient: Patient) -> Iterator[Finding]:
    """Whether TensorFlow runs on the processor, and on how many cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{platform.machine()}, {cores} cores"
    if patient.architecture.base == "vgg16" and _lacks_avx():
        remedy = "use a machine (or set the virtual machine to a processor type) with AVX; TensorFlow ends without it"
        yield failed("processor", "no_avx", f"{found}, without AVX", remedy, cores=cores)
    else:
        yield ok("processor", found, cores=cores)


def _probe(home: Path) -> None:
    """Write a file as a round does, and remove it."""
    path = home / ".doctor"
    try:
        write_private(path, os.urandom(PROBE_BYTES))
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _free_bytes(home: Path) -> int | None:
    """Free bytes where the home is or will be, None where that cannot be told."""
    for folder in (home, *home.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def _feature_bytes(patient: Patient) -> int:
    """How much the features of all usable scans are."""
    return patient.usable * patient.architecture.feature_dim * np.dtype(np.float32).itemsize * VIEWS


def _kept_bytes(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*.f32"))
    except OSError:
        # The service writes beside this.
        return 0


def _total_memory() -> int | None:
    """Bytes that this process may have: the machine's, or less where a container or a service has a limit."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    for path in _LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(path.read_text()))
    return total if total > 0 else None


def _lacks_avx() -> bool:
    """Whether this is a processor of Intel's kind that says nothing of AVX; False where it cannot be told."""
    if platform.machine().lower() not in _X86:
        return False
    try:
        flags = next((line for line in _CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    except OSError:
        return False
    return bool(flags) and "avx" not in flags.split()


def _mib(size: int) -> str:
    return f"{size // MIB:,} MiB"
