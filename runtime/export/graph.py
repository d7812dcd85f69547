"""A small writer for ONNX graphs: nodes, constants shared by value, fp16-stored weights, external data."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
NEWER_IR_VERSION = 10
MICROSOFT = "com.microsoft"
CONTRIBUTED = {"GroupQueryAttention", "MatMulNBits", "GatherBlockQuantized", "SkipSimplifiedLayerNormalization"}
"""Operators of ONNX Runtime's own that these exports use."""
EXTERNAL_MIN_BYTES = 1024
ALIGNMENT = 64
TYPES = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("float16"): TensorProto.FLOAT16,
         np.dtype("int64"): TensorProto.INT64}


class Graph:
    """One graph under construction. Values are named by strings, as in ONNX."""

    def __init__(self, name: str, opset: int = OPSET, half: bool = True) -> None:
        """`half` stores matrices as fp16 and widens them in the graph; else they stay f32."""
        self.name, self.opset, self.half = name, opset, half
        self.nodes, self.initializers, self.inputs, self.outputs = [], {}, [], []
        self.constants, self.casts = {}, {}

    def input(self, name: str, kind: int, shape: list) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: list) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def op(self, kind: str, inputs: list, name: str = "", outputs: list | int = 1, **attributes):
        """Adds a node and returns its output, or its outputs where there are several."""
        name = name or f"{kind}_{len(self.nodes)}"
        if isinstance(outputs, int):
            outputs = [f"{name}/out"] if outputs == 1 else [f"{name}/out{i}" for i in range(outputs)]
        domain = MICROSOFT if kind in CONTRIBUTED else None
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def constant(self, value, dtype=np.int64) -> str:
        """A small constant; equal ones are shared."""
        array = np.asarray(value, dtype)
        key = (array.tobytes(), array.shape, array.dtype.str)
        if key not in self.constants:
            self.constants[key] = self.initializer(f"constant_{len(self.constants)}", array)
        return self.constants[key]

    def initializer(self, name: str, array: np.ndarray) -> str:
        self.initializers.setdefault(name, np.asarray(array, order="C"))
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        """A weight: matrices are stored as fp16 and widened in the graph, vectors stay f32."""
        if array.ndim < 2 or not self.half:
            return self.initializer(name, array.astype(np.float32))
        if name not in self.casts:
            stored = self.initializer(name, array.astype(np.float16))
            self.casts[name] = self.op("Cast", [stored], name=f"{name}/widen", to=TensorProto.FLOAT)
        return self.casts[name]

    def model(self) -> onnx.ModelProto:
        """The graph with its initializers inside."""
        tensors = [numpy_helper.from_array(array, name) for name, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        version = IR_VERSION if self.opset <= OPSET else NEWER_IR_VERSION
        return helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="gemmad export")

    def save(self, path: Path) -> None:
        """Writes `path`; larger initializers go to `path` + `_data`, aligned so that they can be mapped."""
        data_path = path.with_name(path.name + "_data")
        tensors = []
        with data_path.open("wb") as data:
            for name, array in self.initializers.items():
                tensor = TensorProto(name=name, data_type=TYPES[array.dtype], dims=array.shape)
                if array.nbytes < EXTERNAL_MIN_BYTES:
                    tensor.raw_data = array.tobytes()
                else:
                    data.write(b"\0" * (-data.tell() % ALIGNMENT))
                    tensor.data_location = TensorProto.EXTERNAL
                    for key, value in (("location", data_path.name), ("offset", data.tell()), ("length", array.nbytes)):
                        tensor.external_data.add(key=key, value=str(value))
                    data.write(array.tobytes())
                tensors.append(tensor)
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="gemmad demo export")
        onnx.save(model, str(path))
        onnx.checker.check_model(str(path))
