"""The process that reads uploaded models: what it cannot do, even if reading one were to run somebody's code.

Each test has the confined process do what an attacker would, in the place where it reads the file.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_models import KERNEL, SECRET, Place
from test_hostile_models import Watch

from hospintel_core import apart, architectures, confine, h5, uploaded, weights
from hospintel_core.errors import ModelFileError

PIXELS = architectures.get("pixels-head16")
# What reader.main would do, with `evil()` in the place of reading.
EVIL = """
import sys; sys.path.insert(0, sys.argv[1])
from hospintel_core import confine, reader, uploaded
import os, socket, ctypes
def evil(file, architecture):
{body}
{before}
uploaded.read = evil
reader.main(sys.argv[2])
"""
UNWATCHED = "confine._watch = lambda event, arguments: None"
# An evil reader says the number that it has found in the place of a head.
SAY = "os.write(1, b'R%d' % found)\nos._exit(0)"
LIBRARY = f"{UNWATCHED}\nlibc = ctypes.CDLL(None)"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.h5"
    h5.write_model(path, PIXELS, [], architectures.initial_head(PIXELS, 1))
    return path


@pytest.fixture
def evil(model: Path, monkeypatch: Any) -> Any:
    """Read with an evil reader."""

    def ask(body: str, before: str = "") -> apart.Answer:
        text = "\n".join(f"    {line}" for line in body.splitlines())
        monkeypatch.setattr(apart, "_START", EVIL.format(body=text, before=before))
        return apart.ask(model, PIXELS)

    return ask


def lets_us_leave() -> bool:
    """Whether the kernel gives a process namespaces of its own, as util-linux finds it."""
    tool = shutil.which("unshare")
    assert tool, "util-linux is not installed"
    return subprocess.run([tool, "--user", "--net", "true"], capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not lets_us_leave(), reason="this kernel gives processes no namespaces of their own"
)


def test_an_honest_model_is_read_to_the_bit(model: Path):
    answer = apart.ask(model, PIXELS)
    head = architectures.initial_head(PIXELS, 1)
    assert {name: array.tobytes() for name, array in apart.head_of(answer, PIXELS).items()} == {
        name: array.tobytes() for name, array in head.items()
    }
    assert answer.isolated == lets_us_leave()


@pytest.mark.parametrize(
    "deed",
    [
        "os.system('touch canary')",
        "open('/etc/hostname')",
        "socket.socket()",
        "import wave",
        "exec('1')",
        "ctypes.CDLL(None)",
        "os.listdir('.')",
        "__import__('pickle').loads(b'cos\\nsystem\\n(S\\'true\\'\\ntR.')",
    ],
)
def test_anything_but_reading_stops_the_process(evil: Any, deed: str):
    answer = evil(deed, before="import pickle")
    assert (answer.code, answer.head) == ("model_unsafe", b"")


def said_by(answer: apart.Answer) -> int:
    """An evil reader's number, which it says in the place of a head."""
    assert answer.code == ""
    return int(answer.head)


def number(*lines: str) -> str:
    """The body of an evil reader that says a number: that of the error that its deed ends with, or 0."""
    deed = "\n    ".join(lines)
    tried = f"try:\n    {deed}\n    found = 0\nexcept OSError as error:\n    found = error.errno\n"
    return tried + SAY


def test_without_the_watch_there_is_still_no_file_to_open(evil: Any, model: Path):
    assert said_by(evil(number(f"os.open({str(model)!r}, os.O_RDONLY)"), before=UNWATCHED)) in {2, 24}
    assert said_by(evil(number("os.open('x', os.O_CREAT | os.O_WRONLY)"), before=UNWATCHED)) in {2, 13, 24, 30}


@needs_namespaces
def test_the_disk_is_not_there_even_for_who_has_a_place_for_one_more_file(evil: Any, model: Path):
    deed = number("os.close(0)", f"os.open({str(model)!r}, os.O_RDONLY)")
    assert said_by(evil(deed, before=UNWATCHED)) == 2
    assert said_by(evil(deed, before=f"{UNWATCHED}\nconfine.leave_files = lambda: True")) == 0


def test_without_the_watch_there_is_still_no_process_to_start(evil: Any, tmp_path: Path):
    deed = f"found = os.system('touch {tmp_path / 'canary'}')\n{SAY}"
    assert said_by(evil(deed, before=UNWATCHED)) != 0
    assert not (tmp_path / "canary").exists()


@needs_namespaces
def test_without_the_watch_there_is_still_no_network(evil: Any):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # It closes a file of its own first: the limit on open files alone would not do.
        deed = number("os.close(0)", f"socket.socket().connect(('127.0.0.1', {port}))")
        assert said_by(evil(deed, before=UNWATCHED)) != 0
        assert said_by(evil(deed, before=f"{UNWATCHED}\nconfine.leave_network = lambda: False")) == 0


@needs_namespaces
def test_a_privilege_that_is_given_up_does_not_come_back(evil: Any):
    deed = f"found = -libc.unshare(0x00020000)\n{SAY}"
    assert said_by(evil(deed, before=LIBRARY)) == 1
    assert said_by(evil(deed, before=f"{LIBRARY}\nconfine.shut = lambda: None")) == 0


def test_it_inherits_no_environment_and_no_file(evil: Any, monkeypatch: Any):
    monkeypatch.setenv("HOSPINTEL_SECRET", "x")
    with Path(os.devnull).open() as other:
        os.set_inheritable(other.fileno(), True)
        # One handle is the one that lists them.
        before = (
            "handles = [int(name) for name in os.listdir('/proc/self/fd') if int(name) > 2]\nworking = os.listdir('.')"
        )
        assert said_by(evil(f"found = len(handles) - 1 + len(working)\n{SAY}", before=before)) == 0
    ours = "{'HDF5_PLUGIN_PRELOAD', 'OPENBLAS_NUM_THREADS', 'LANG', 'LC_CTYPE'}"
    assert said_by(evil(f"found = len(set(os.environ) - {ours})\n{SAY}")) == 0


def test_too_much_memory_is_not_to_be_had(evil: Any):
    answer = evil("x = bytearray(2 << 30)")
    assert answer.code == "model_too_costly"
    assert answer.peak_bytes < 2 << 30


def test_processor_time_is_bounded(evil: Any, monkeypatch: Any):
    answer = evil("while True: pass", before="confine.CPU_SECONDS = 1")
    assert answer.code == "model_too_costly"
    assert answer.seconds < 20


def test_who_waits_for_ever_is_ended(evil: Any, monkeypatch: Any):
    monkeypatch.setattr(apart, "WALL_SECONDS", 1.5)
    answer = evil("import time; time.sleep(60)", before="import time")
    assert answer.code == "model_too_costly"
    assert answer.seconds < 20


def test_who_answers_and_stays_is_ended_too(evil: Any, monkeypatch: Any):
    monkeypatch.setattr(apart, "_LAST_SECONDS", 0.5)
    answer = evil("os.write(1, b'Rx')\nos.close(1)\ntime.sleep(60)", before="import time")
    assert answer.code == "model_too_costly"
    assert answer.seconds < 20


def test_what_it_started_before_is_ended_with_it(evil: Any, tmp_path: Path):
    """Confined it starts nothing; if it could, its session would be killed with it."""
    before = f"{UNWATCHED}\nconfine.shut = lambda: None\nconfine.leave_network = confine.leave_files = lambda: False"
    note = tmp_path / "pid"
    deed = (
        "pid = os.fork()\n"
        f"if not pid:\n    os.close(1)\n    import time\n    time.sleep(60)\nopen({str(note)!r}, 'w').close()\n"
        "os.write(1, b'R%d' % pid)\nos._exit(0)"
    )
    # The file cannot be larger than nothing, which is enough here.
    pid = said_by(evil(deed, before=before))
    within_seconds(lambda: is_gone(pid))


def within_seconds(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def is_gone(pid: int | str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_who_reads_does_not_outlive_who_asked(model: Path):
    start = EVIL.format(body="    time.sleep(60)", before=f"import time\n{UNWATCHED}")
    code = (
        "from pathlib import Path\nfrom hospintel_core import apart, architectures\n"
        f"apart._START = {start!r}\napart.ask(Path({str(model)!r}), architectures.get('pixels-head16'))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=apart._ROOT) as asks:
        children = Path(f"/proc/{asks.pid}/task/{asks.pid}/children")
        pid = within_seconds(lambda: next(filter(is_confined, children.read_text().split()), None))
        asks.kill()
    within_seconds(lambda: is_gone(pid))


def is_confined(pid: str) -> bool:
    """Whether the process reads already; others come and go before it."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    return False


def test_a_crash_is_an_unreadable_file(evil: Any):
    assert evil(f"os.kill(os.getpid(), {int(signal.SIGSEGV)})", before=UNWATCHED).code == "model_unreadable"


@pytest.mark.parametrize(
    "said",
    [
        "b'E' + b'/etc/passwd: root'",
        "b'E' + b'anything'",
        "b'R' + bytes(1 << 20)",
        "b'R' + bytes(100)",
    ],
)
def test_what_it_says_beside_its_form_is_believed_by_nobody(evil: Any, said: str):
    answer = evil(f"reader._say({said})\nos._exit(0)")
    with pytest.raises(ModelFileError) as caught:
        apart.head_of(answer, PIXELS)
    assert (caught.value.code, str(caught.value)) == ("model_unsafe", apart.DETAILS["model_unsafe"])


def test_a_head_that_is_no_head_is_believed_by_nobody(evil: Any):
    head = architectures.initial_head(PIXELS, 1)
    head["head_output/bias"][0] = np.nan
    answer = evil(f"reader._say(b'R' + {weights.dumps(head)!r})\nos._exit(0)")
    with pytest.raises(ModelFileError) as caught:
        apart.head_of(answer, PIXELS)
    assert caught.value.code == "model_unsafe"


def test_a_fault_of_ours_is_not_blamed_on_the_file(evil: Any, caplog: Any, model: Path):
    with pytest.raises(RuntimeError, match="ended with 1"):
        evil("pass", before="raise ValueError('ours')")
    assert "ours" in caplog.text
    with pytest.raises(FileNotFoundError):
        apart.ask(model.with_name("nowhere"), PIXELS)


# Our own rules, taken away: whatever is called like an array is read, wherever its values are.
BELIEVES = """
import numpy
from hospintel_core import h5
def read(dataset, name, shape):
    values = numpy.empty(shape, '<f4')
    dataset.read_direct(values)
    return values
h5._checked_values = read
evil = uploaded.read
"""
LOOSE = "confine.shut = lambda: None\nconfine.leave_files = lambda: False"


@pytest.mark.parametrize("storage", ["raw", "pipe"])
def test_without_our_own_rules_there_is_still_no_file_to_read(tmp_path: Path, monkeypatch: Any, storage: str):
    place, path = Place(tmp_path), tmp_path / "hostile.h5"

    def change(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, SECRET.shape, "<f4", external=[(str(getattr(place, storage)), 0, SECRET.nbytes)])

    path.write_bytes(place.honest(change))
    monkeypatch.setattr(apart, "_START", EVIL.format(body="    pass", before=BELIEVES))
    with Watch(place.secrets) as watch:
        answer = apart.ask(path, PIXELS)
        assert watch.names() == set()
    assert answer.code == "model_unreadable"
    if storage == "raw":
        # The test can tell: without limits and rules the other file is read.
        monkeypatch.setattr(apart, "_START", EVIL.format(body="    pass", before=f"{BELIEVES}\n{LOOSE}"))
        with Watch(place.secrets) as watch:
            answer = apart.ask(path, PIXELS)
            assert watch.names() == {"secret.bin"}
        assert SECRET.tobytes()[:64] in answer.head


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path):
    path = tmp_path / "large.h5"
    with path.open("wb") as file:
        file.write(h5.MAGIC)
        file.truncate(uploaded.MAX_BYTES + 1)
    assert apart.ask(path, PIXELS).code == "model_too_large"


def test_the_limits_are_those_that_are_promised():
    assert (confine.MEMORY_BYTES, confine.CPU_SECONDS, confine.FILE_BYTES) == (3 << 29, 30, 1 << 16)
    assert apart.WALL_SECONDS + apart._LAST_SECONDS < 35


def test_it_loads_neither_a_web_framework_nor_tensorflow(model: Path):
    code = (
        "import sys; from hospintel_core import uploaded, reader, apart\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in {'django', 'keras', 'tensorflow', 'celery'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=apart._ROOT)
    assert done.stdout == "[]\n"
