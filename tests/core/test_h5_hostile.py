"""Files that no one should trust: each must end in a ModelFileError, read nothing else and cost next to nothing."""

import os
import pickle
import resource
import subprocess
import sys
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from hospintel_core import architectures, h5, weights
from hospintel_core.errors import ModelFileError

PIXELS = architectures.get("pixels-head16")
KERNEL = "model_weights/head_dense/hospintel/head_dense/kernel"
SHAPE = (256, 16)
SECRET = np.full(SHAPE, 1234.5, np.float32)


@pytest.fixture
def path(tmp_path):
    """An honest model, to be spoilt."""
    path = tmp_path / "model.h5"
    h5.write_model(path, PIXELS, [], architectures.initial_head(PIXELS, 1))
    return path


def code_of(path):
    with pytest.raises(ModelFileError) as caught:
        h5.read_head(path, PIXELS)
    return caught.value.code


def spoil(path, change):
    with h5py.File(path, "a") as file:
        change(file)
    return code_of(path)


def replaced(**options):
    """Put another dataset where a kernel is expected."""

    def change(file):
        del file[KERNEL]
        file.create_dataset(KERNEL, **options)

    return change


def secret_model(folder):
    path = folder / "secret.h5"
    h5.write_model(path, PIXELS, [], architectures.initial_head(PIXELS, 2))
    with h5py.File(path, "a") as file:
        file["values"] = SECRET
    return path


def linked(link, at=KERNEL):
    def change(file):
        del file[at]
        file[at] = link

    return change


@pytest.mark.parametrize("at", [KERNEL, KERNEL.rpartition("/")[0], "model_weights/head_dense", "model_weights"])
def test_an_external_link_is_not_followed_at_any_depth(path, tmp_path, at):
    secret = secret_model(tmp_path)
    where = "values" if at == KERNEL else at
    assert spoil(path, linked(h5py.ExternalLink(str(secret), where), at)) == "model_link"


@pytest.mark.parametrize("at", [KERNEL, "model_weights/head_dense"])
def test_a_soft_link_is_not_followed(path, at):
    assert spoil(path, linked(h5py.SoftLink("/elsewhere"), at)) == "model_link"

    def inside(file):
        file["elsewhere"] = SECRET

    assert spoil(path, inside) == "model_link"


def test_a_virtual_dataset_is_not_read(path, tmp_path):
    layout = h5py.VirtualLayout(SHAPE, "<f4")
    layout[:] = h5py.VirtualSource(str(secret_model(tmp_path)), "values", SHAPE)

    def change(file):
        del file[KERNEL]
        file.create_virtual_dataset(KERNEL, layout)

    assert spoil(path, change) == "model_external"


def test_external_storage_is_not_read(path, tmp_path):
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    external = [(str(tmp_path / "secret.bin"), 0, SECRET.nbytes)]
    assert spoil(path, replaced(shape=SHAPE, dtype="<f4", external=external)) == "model_external"


@pytest.mark.parametrize(
    "shape", [(256, 17), (16, 256), (4096,), (256, 16, 1), (), (0,), (2**20, 2**20), (1 << 58,)], ids=str
)
def test_another_shape_is_refused_before_anything_is_allocated(path, shape):
    assert spoil(path, replaced(shape=shape, dtype="<f4")) == "model_shape"


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i4", "S4", "O", [("x", "<f4")], "<c8", bool], ids=str)
def test_another_type_is_refused(path, dtype):
    kind = h5py.string_dtype() if dtype == "O" else dtype
    assert spoil(path, replaced(shape=SHAPE, dtype=kind)) == "model_dtype"


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"shuffle": True},
        {"fletcher32": True},
        {"compression": "lzf"},
        {"scaleoffset": 3},
        {"chunks": (16, 16)},
        {"chunks": (4096, 16), "maxshape": (None, 16)},
    ],
    ids=str,
)
def test_filters_and_chunks_are_refused(path, options):
    data = np.ones(SHAPE, np.float32)
    assert spoil(path, replaced(data=data, **options)) == "model_filter"


def test_a_chunk_that_inflates_without_end_costs_no_memory(path):
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()

    def change(file):
        del file[KERNEL]
        dataset = file.create_dataset(KERNEL, SHAPE, "<f4", chunks=SHAPE, compression="gzip")
        dataset.id.write_direct_chunk((0, 0), bomb)

    with h5py.File(path, "a") as file:
        change(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(path) == "model_filter"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_values_that_were_never_stored_are_missing(path):
    assert spoil(path, replaced(shape=SHAPE, dtype="<f4", fillvalue=7)) == "model_missing"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(path, value):
    data = np.zeros(SHAPE, np.float32)
    data[3, 3] = value
    assert spoil(path, replaced(data=data)) == "model_not_finite"


def test_a_missing_array_and_a_group_in_its_place_are_refused(path):
    def remove(file):
        del file[KERNEL]

    assert spoil(path, remove) == "model_missing"
    assert spoil(path, lambda file: file.create_group(KERNEL)) == "model_missing"


def test_an_array_where_a_group_is_expected_is_refused(path):
    def change(file):
        del file["model_weights/head_dense"]
        file["model_weights/head_dense"] = SECRET

    assert spoil(path, change) == "model_missing"


def test_a_named_type_where_an_array_is_expected_is_refused(path):
    def change(file):
        del file[KERNEL]
        file[KERNEL] = np.dtype("<f4")

    assert spoil(path, change) == "model_missing"


def test_a_model_of_another_architecture_is_refused(path):
    with pytest.raises(ModelFileError) as caught:
        h5.read_head(path, architectures.get("vgg16-head256"))
    assert caught.value.code == "model_shape"
    with pytest.raises(ModelFileError) as caught:
        h5.read_base(path, architectures.get("vgg16-head256"))
    assert caught.value.code == "model_missing"


class Canary:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["pickle", "keras", "safetensors", "numpy", "text", "empty", "other HDF5 offset"])
def test_another_format_under_the_name_is_refused(path, tmp_path, kind):
    canary = tmp_path / "canary"
    head = architectures.initial_head(PIXELS, 1)
    if kind == "keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
    elif kind == "numpy":
        with path.open("wb") as file:
            np.save(file, SECRET)
    else:
        path.write_bytes(
            {
                "pickle": pickle.dumps(Canary(f"touch {canary}")),
                "safetensors": weights.dumps(head),
                "text": b"a plain text\n" * 100,
                "empty": b"",
                # HDF5 finds a signature at 512, 1024, ... too: a polyglot would pass for two formats.
                "other HDF5 offset": b"PK\x03\x04".ljust(512, b"\0") + path.read_bytes(),
            }[kind]
        )
    assert code_of(path) == "model_unreadable"
    assert not canary.exists()


def test_configuration_and_attributes_are_never_looked_at(path, tmp_path):
    canary = tmp_path / "canary"
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = '{"class_name": "Lambda", "config": {"function": "os.system"}}'
        file.attrs["training_config"] = np.void(pickle.dumps(Canary(f"touch {canary}")))
        file["model_weights"].attrs["layer_names"] = [b"../../etc/passwd"]
        file[KERNEL].attrs["x" * 1000] = np.zeros(1000)
    assert len(h5.read_head(path, PIXELS)) == 4
    assert not canary.exists()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.9999])
def test_a_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert code_of(path) == "model_unreadable"


def test_a_file_over_the_limit_is_refused_unread(path):
    with path.open("r+b") as file:
        file.truncate(h5.MAX_FILE_BYTES + 1)
    assert code_of(path) == "model_too_large"


def test_a_missing_file_is_refused(tmp_path):
    assert code_of(tmp_path / "nowhere.h5") == "model_unreadable"


# In a process of its own, as in production: HDF5 is C code and may crash. The damage is the same in every run.
DAMAGE = """
import sys, random
from pathlib import Path
from hospintel_core import architectures, h5, weights
from hospintel_core.errors import ModelFileError
honest, pixels, seen = Path(sys.argv[1]).read_bytes(), architectures.get("pixels-head16"), {}
path = Path(sys.argv[1] + ".damaged")
for number in range(600):
    chance = random.Random(number)
    damaged = bytearray(honest)
    for _ in range(chance.randint(1, 6)):
        damaged[chance.randrange(8, chance.choice((4000, len(damaged))))] = chance.randrange(256)
    path.write_bytes(damaged)
    try:
        assert weights.schema_of(h5.read_head(path, pixels)) == pixels.head_schema
        seen["read"] = seen.get("read", 0) + 1
    except ModelFileError as error:
        seen[error.code] = seen.get(error.code, 0) + 1
print(sum(seen.values()), len(seen))
"""


def test_damaged_bytes_give_a_head_or_a_model_file_error_and_nothing_else(path):
    answer = run_apart(DAMAGE, path)
    count, kinds = map(int, answer.split())
    assert count == 600
    assert kinds >= 3


def run_apart(script, path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, path]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_reading_a_hostile_file_opens_nothing_but_that_file(path, tmp_path):
    secret = secret_model(tmp_path)
    with h5py.File(path, "a") as file:
        linked(h5py.ExternalLink(str(secret), "values"))(file)
    script = (
        "import sys\nfrom pathlib import Path\nfrom hospintel_core import architectures, h5\n"
        "from hospintel_core.errors import ModelFileError\nopened = []\n"
        "def watch(event, arguments):\n"
        "    if event in {'open', 'os.system', 'subprocess.Popen', 'socket.connect', 'exec', 'import'}:\n"
        "        opened.append((event, str(arguments[0])))\n"
        "sys.addaudithook(watch)\n"
        "try:\n    h5.read_head(Path(sys.argv[1]), architectures.get('pixels-head16'))\n"
        "except ModelFileError as error:\n"
        "    print(error.code, sorted({entry for entry in opened if entry[0] != 'import'}))\n"
    )
    assert run_apart(script, path) == f"model_link [('open', '{path}')]\n"
