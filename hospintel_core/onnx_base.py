"""VGG16's convolutions as an ONNX model made from our own arrays, run by onnxruntime: a scan in well under a second.

Both packages are imported when a base is built, and never before: agents do without them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hospintel_core.backbone import VGG16_CONVOLUTIONS

Floats = npt.NDArray[np.float32]
# keras.applications.vgg16.preprocess_input: blue, green, red, less the means of ImageNet.
_MEANS_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_OPSET, _IR_VERSION = 17, 8
_THREADS = 2


def build(base: Sequence[Floats]) -> bytes:
    """Return an ONNX file: input ``x`` (1, 3, size, size) float32, output ``map`` (1, 512, size / 16, size / 16).

    Args:
        base: the 26 arrays in Keras' order, kernels (3, 3, inputs, outputs).
    """
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    nodes, constants, last, block = [], [], "x", VGG16_CONVOLUTIONS[0][0][:6]
    for (name, _, _), kernel, bias in zip(VGG16_CONVOLUTIONS, base[::2], base[1::2], strict=True):
        if name[:6] != block:
            block = name[:6]
            nodes.append(helper.make_node("MaxPool", [last], [f"{block}_in"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"{block}_in"
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), f"{name}/kernel"),
            numpy_helper.from_array(np.ascontiguousarray(bias), f"{name}/bias"),
        ]
        inputs = [last, f"{name}/kernel", f"{name}/bias"]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}_sum"], pads=[1, 1, 1, 1]))
        last = "map" if name == VGG16_CONVOLUTIONS[-1][0] else name
        nodes.append(helper.make_node("Relu", [f"{name}_sum"], [last]))
    graph = helper.make_graph(
        nodes,
        "vgg16",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, None, None])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def load(base: Sequence[Floats]) -> Callable[[npt.NDArray[np.uint8]], Floats]:
    """Return a function from one scan's pixels (size, size, 3) RGB to block5_conv3's map (side, side, 512)."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    session: Any = onnxruntime.InferenceSession(build(base), options, providers=["CPUExecutionProvider"])

    def run(pixels: npt.NDArray[np.uint8]) -> Floats:
        values = pixels[:, :, ::-1].astype(np.float32) - _MEANS_BGR
        (found,) = session.run(["map"], {"x": np.ascontiguousarray(values.transpose(2, 0, 1)[None])})
        return np.ascontiguousarray(found[0].transpose(1, 2, 0), np.float32)

    return run
