"""Models that nobody should open: each of them tries to run code, to read other files, or to cost without end.

`MADE` lists them: a name, the codes with which reading one may end ("" where the weights are read and the rest, being
neither parsed nor followed, does nothing), and how its bytes are made. The .keras archives are in hostile_archives.py.
"""

import base64
import json
import marshal
import os
import pickle
import tarfile
import types
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hospintel_core import architectures, h5, weights

PIXELS = architectures.get("pixels-head16")
LAYER = "model_weights/head_dense"
KERNEL = f"{LAYER}/hospintel/head_dense/kernel"
SHAPE = (256, 16)
SECRET = np.full(SHAPE, 1234.5, np.float32)


class Place:
    """Where hostile files are made: beside them lie what must not be read, and where a canary must not appear."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.canary, self.secrets = folder, folder / "canary", folder / "secrets"
        self.secrets.mkdir()
        self.secret, self.raw, self.pipe = (self.secrets / name for name in ("secret.h5", "secret.bin", "secret.pipe"))
        h5.write_model(self.secret, PIXELS, [], architectures.initial_head(PIXELS, 2))
        with h5py.File(self.secret, "a") as file:
            file["values"] = SECRET
        self.raw.write_bytes(SECRET.tobytes())
        os.mkfifo(self.pipe)

    @property
    def command(self) -> str:
        """What must never run."""
        return f"touch {self.canary}"

    def honest(self, change: Callable[[Any], object] = lambda file: None, **options: Any) -> bytes:
        """An honest .h5 model with one change."""
        path = self.folder / "making.h5"
        h5.write_model(path, PIXELS, [], architectures.initial_head(PIXELS, 1))
        with h5py.File(path, "a", **options) as file:
            change(file)
        return path.read_bytes()

    def weights_only(self, change: Callable[[Any], object] = lambda file: None) -> bytes:
        """An honest .weights.h5, as a .keras archive holds one, with one change."""
        path, head = self.folder / "making.weights.h5", architectures.initial_head(PIXELS, 1)
        with h5py.File(path, "w") as file:
            for number, layer in enumerate(PIXELS.layers):
                place = f"layers/dense_{number}/vars" if number else "layers/dense/vars"
                file[f"{place}/0"], file[f"{place}/1"] = head[layer.kernel], head[layer.bias]
            change(file)
        return path.read_bytes()


@dataclass(frozen=True)
class Hostile:
    """One of them."""

    name: str
    codes: frozenset[str]
    make: Callable[[Place], bytes]


MADE: list[Hostile] = []


def hostile(name: str, *codes: str) -> Callable[[Callable[[Place], bytes]], Callable[[Place], bytes]]:
    def mark(make: Callable[[Place], bytes]) -> Callable[[Place], bytes]:
        MADE.append(Hostile(name, frozenset(codes), make))
        return make

    return mark


def changed(name: str, code: str, change: Callable[[Place, Any], object], **options: Any) -> None:
    """An honest model, but for one change to the open file."""
    hostile(name, code)(lambda place: place.honest(lambda file: change(place, file), **options))


def replaced(name: str, code: str, at: str = KERNEL, **dataset: Any) -> None:
    """An honest model with another dataset in one place."""

    def change(_: Place, file: Any) -> None:
        del file[at]
        file.create_dataset(at, **dataset)

    changed(name, code, change)


def linked(name: str, code: str, link: Callable[[Place], Any], at: str = KERNEL) -> None:
    """An honest model with a link in one place."""

    def change(place: Place, file: Any) -> None:
        del file[at]
        file[at] = link(place)

    changed(name, code, change)


# --- Running code -----------------------------------------------------------------------------------------------------


class Canary:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def _lambda(place: Place) -> dict[str, Any]:
    code = compile(f"import os\nos.system({place.command!r})", "x", "exec")
    text = base64.b64encode(marshal.dumps(types.FunctionType(code, {}).__code__)).decode()
    function = {"class_name": "__lambda__", "config": {"code": text, "defaults": None, "closure": None}}
    return {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "x", "function": function}}


def _function(module: str, name: str, **arguments: Any) -> dict[str, Any]:
    function = {"class_name": "function", "module": module, "config": name, "registered_name": name}
    return {
        "class_name": "Lambda",
        "module": "keras.layers",
        "config": {"name": "x", "function": function, "arguments": arguments},
    }


# What the advisories' examples put into a model's configuration.
CONFIGURATIONS: dict[str, Callable[[Place], dict[str, Any]]] = {
    "Lambda with bytecode": _lambda,
    "CVE-2025-1550 imports os.system": lambda place: _function("os", "system", command=place.command),
    "CVE-2025-8747 fetches and unpacks": lambda place: _function(
        "keras.utils", "get_file", fname="x", origin=place.raw.as_uri(), cache_dir=str(place.folder), extract=True
    ),
    "CVE-2025-9906 switches safe mode off": lambda place: {
        "class_name": "Sequential",
        "module": "keras",
        "config": {"layers": [_function("keras.config", "enable_unsafe_deserialization"), _lambda(place)]},
    },
    "CVE-2026-1462 TFSMLayer": lambda place: {
        "class_name": "TFSMLayer",
        "module": "keras.layers",
        "config": {"filepath": str(place.secrets), "call_endpoint": "serve"},
    },
    "CVE-2025-49655 TorchModuleWrapper": lambda place: {
        "class_name": "TorchModuleWrapper",
        "module": "keras.layers",
        "config": {"module": base64.b64encode(pickle.dumps(Canary(place.command))).decode()},
    },
    "CVE-2025-12058 StringLookup": lambda place: {
        "class_name": "StringLookup",
        "module": "keras.layers",
        "config": {"vocabulary": str(place.raw)},
    },
}


def text_of(configuration: dict[str, Any]) -> str:
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 16, 16, 1], "name": "i"}}, configuration]
    return json.dumps(
        {"class_name": "Sequential", "module": "keras", "config": {"name": "hospintel", "layers": layers}}
    )


def _configured(name: str, made: Callable[[Place], dict[str, Any]]) -> None:
    def change(place: Place, file: Any) -> None:
        file.attrs["model_config"] = text_of(made(place))

    changed(f"h5: {name}", "", change)


for _name, _made in CONFIGURATIONS.items():
    _configured(_name, _made)
changed(
    "h5: a pickle in an attribute",
    "",
    lambda place, file: file.attrs.update({"training_config": np.void(pickle.dumps(Canary(place.command)))}),
)


@hostile("a pickle called .h5", "model_unreadable")
def _pickle(place: Place) -> bytes:
    return pickle.dumps(Canary(place.command))


@hostile("a pickle behind HDF5's signature", "model_unreadable")
def _signed_pickle(place: Place) -> bytes:
    return h5.MAGIC + pickle.dumps(Canary(place.command))


@hostile("numpy's archive with objects", "model_archive")
def _npz(place: Place) -> bytes:
    file = BytesIO()
    np.savez(file, a=np.array([Canary(place.command)], dtype=object))
    return file.getvalue()


@hostile("a tar with a path that leads out", "model_unreadable")
def _tar(place: Place) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../canary"))
    return file.getvalue()


@hostile("a shell script", "model_unreadable")
def _script(place: Place) -> bytes:
    return f"#!/bin/sh\n{place.command}\n".encode()


@hostile("a safetensors file", "model_unreadable")
def _safetensors(place: Place) -> bytes:
    return weights.dumps(architectures.initial_head(PIXELS, 1))


# --- Reading other files ----------------------------------------------------------------------------------------------

for _at in (KERNEL, f"{LAYER}/hospintel", LAYER, "model_weights"):
    linked(
        f"an external link at {_at.count('/')} deep",
        "model_link",
        lambda place, at=_at: h5py.ExternalLink(str(place.secret), "values" if at == KERNEL else at),
        at=_at,
    )
linked("an external link to a named pipe", "model_link", lambda place: h5py.ExternalLink(str(place.pipe), "values"))
linked("an external link to the file itself", "model_link", lambda place: h5py.ExternalLink("making.h5", KERNEL))
linked("a soft link within the file", "model_link", lambda place: h5py.SoftLink("/model_weights"))
linked("a soft link to nowhere", "model_link", lambda place: h5py.SoftLink("/" + "x" * 60000))


def _soft_to_external(place: Place, file: Any) -> None:
    del file[LAYER]
    file["out"] = h5py.ExternalLink(str(place.secret), LAYER)
    file[LAYER] = h5py.SoftLink("/out")


changed("a soft link to an external link", "model_link", _soft_to_external)


def _external(target: Callable[[Place], str]) -> Callable[[Place, Any], object]:
    def change(place: Place, file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, SHAPE, "<f4", external=[(target(place), 0, SECRET.nbytes)])

    return change


changed("CVE-2026-1669 external storage", "model_external", _external(lambda place: str(place.raw)))
changed("external storage in a named pipe", "model_external", _external(lambda place: str(place.pipe)))
changed("external storage in a device", "model_external", _external(lambda place: "/dev/zero"))


def _virtual(place: Place, file: Any) -> None:
    del file[KERNEL]
    layout = h5py.VirtualLayout(SHAPE, "<f4")
    layout[:] = h5py.VirtualSource(str(place.secret), "values", SHAPE)
    file.create_virtual_dataset(KERNEL, layout)


changed("a virtual dataset over another file", "model_external", _virtual)


def _unread_link(place: Place, file: Any) -> None:
    file["optimizer_weights"] = h5py.ExternalLink(str(place.secret), "values")
    file["model_weights"].attrs["layer_names"] = [str(place.raw).encode()]


changed("an external link where nothing is expected", "", _unread_link)

# --- Costing without end ----------------------------------------------------------------------------------------------

replaced("CVE-2026-0897 a shape of 2^40", "model_shape", shape=(2**20, 2**20), dtype="<f4")
replaced("a shape of 2^58", "model_shape", shape=(1 << 58,), dtype="<f4")
replaced("a shape without dimensions", "model_shape", shape=(), dtype="<f4")
replaced("a shape of 32 dimensions", "model_shape", shape=(1,) * 32, dtype="<f4")
replaced("a shape with a zero", "model_shape", shape=(0, 16), dtype="<f4")
replaced("3.996 GiB declared, nothing stored", "model_shape", shape=(1023, 1024, 1024), dtype="<f4", compression="gzip")
replaced("values that were never stored", "model_missing", shape=SHAPE, dtype="<f4", fillvalue=7)
replaced("NaN", "model_not_finite", data=np.full(SHAPE, np.nan, np.float32))
replaced("infinite", "model_not_finite", data=np.full(SHAPE, -np.inf, np.float32))
for _filter in (
    {"compression": "gzip"},
    {"compression": "lzf"},
    {"shuffle": True},
    {"fletcher32": True},
    {"scaleoffset": 3},
    {"chunks": (1, 1)},
    {"chunks": (4096, 16), "maxshape": (None, 16)},
):
    replaced(
        f"stored with {next(iter(_filter))} {next(iter(_filter.values()))}", "model_filter", data=SECRET, **_filter
    )


def _chunk(place: Place, file: Any, *, filters: tuple[int, ...], data: bytes) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(SHAPE)
    for number in filters:
        plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (0, 0, 0, 0))
    del file[KERNEL]
    space = h5py.h5s.create_simple(SHAPE)
    dataset = h5py.h5d.create(file.id, KERNEL.encode(), h5py.h5t.IEEE_F32LE, space, dcpl=plan)
    dataset.write_direct_chunk((0, 0), data)


def _bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


changed(
    "a chunk that inflates to 300 MiB",
    "model_filter",
    lambda place, file: _chunk(place, file, filters=(h5py.h5z.FILTER_DEFLATE,), data=_bomb(300)),
)
changed(
    "thirty filters of a kind that asks for a plugin",
    "model_filter",
    lambda place, file: _chunk(place, file, filters=tuple(range(32000, 32030)), data=b"x"),
)

# --- Other types ------------------------------------------------------------------------------------------------------

for _type in ("<f8", ">f4", "<f2", "<i4", "S4", "V4", bool, "<c8", [("x", "<f4")], [("x", "S9"), ("y", "<i8", 9)]):
    replaced(f"the type {_type}", "model_dtype", shape=SHAPE, dtype=_type)
replaced("strings of any length", "model_dtype", shape=SHAPE, dtype=h5py.string_dtype())
replaced("arrays of any length", "model_dtype", shape=SHAPE, dtype=h5py.vlen_dtype("<f4"))
replaced("references to objects", "model_dtype", shape=SHAPE, dtype=h5py.ref_dtype)
replaced("references to regions", "model_dtype", shape=SHAPE, dtype=h5py.regionref_dtype)
replaced("an enumeration", "model_dtype", shape=SHAPE, dtype=h5py.enum_dtype({"a": 1}))


def _odd_float(place: Place, file: Any) -> None:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    del file[KERNEL]
    dataset = h5py.h5d.create(file.id, KERNEL.encode(), kind, h5py.h5s.create_simple(SHAPE))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, SECRET, mtype=kind)


changed("floats with an exponent of their own", "model_dtype", _odd_float)


def _deep_type(place: Place, file: Any) -> None:
    kind: Any = np.dtype("<f4")
    for number in range(60):
        kind = np.dtype([(f"n{number}", kind)])
    del file[KERNEL]
    file.create_dataset(KERNEL, SHAPE, kind)


changed("sixty types within each other", "model_dtype", _deep_type)
linked("a type in the place of an array", "model_missing", lambda place: np.dtype("<f4"))
