"""One data file for all graphs of a variant in one precision: what several graphs hold alike is stored once."""

import gzip
import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto

ALIGNMENT = 64
SMALLEST_BYTES = 256
"""Smaller tensors stay in the graph's own file."""


class Store:
    """Collects tensors; graphs refer to them by the name that the data file has beside them when published."""

    def __init__(self, path: Path) -> None:
        self.path, self.places, self.data = path, {}, bytearray()

    def place(self, content: bytes) -> int:
        """Offset of `content` in the file."""
        key = hashlib.sha256(content).digest()
        if key not in self.places:
            self.data.extend(b"\0" * (-len(self.data) % ALIGNMENT))
            self.places[key] = len(self.data)
            self.data.extend(content)
        return self.places[key]

    def save_graph(self, model: onnx.ModelProto, path: Path, location: str) -> None:
        """Writes a graph, packed, whose tensors will lie in the file `location` beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shorten(model.graph)
        for tensor in model.graph.initializer:
            content = onnx.numpy_helper.to_array(tensor).tobytes() if not tensor.raw_data else tensor.raw_data
            if len(content) < SMALLEST_BYTES:
                continue
            stripped = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            stripped.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", self.place(content)), ("length", len(content))):
                stripped.external_data.add(key=key, value=str(value))
            tensor.CopyFrom(stripped)
        pack(model.SerializeToString(), path)

    def save(self) -> None:
        pack(bytes(self.data), self.path)


def pack(content: bytes, path: Path) -> None:
    """Writes `path` + `.gz`, the same bytes every time: graphs are mostly names, and shrink to a tenth."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))


def shorten(graph: onnx.GraphProto) -> None:
    """Gives values between nodes short names, and nodes the name of what they make: names were most of the files."""
    kept = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    nodes, names = ordered(graph, kept), {}
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            if name and name not in kept:
                node.output[place] = names.setdefault(name, f"v{len(names)}")
        node.name = f"{node.op_type} {node.output[0]}"
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)


def ordered(graph: onnx.GraphProto, known: set) -> list:
    """The nodes, each after those that it reads: converters append theirs at the end."""
    ready, waiting = {""} | known - {value.name for value in graph.output}, list(graph.node)
    nodes = []
    while waiting:
        late = []
        for node in waiting:
            if ready.issuperset(node.input):
                nodes.append(node)
                ready.update(node.output)
            else:
                late.append(node)
        if len(late) == len(waiting):
            raise ValueError(f"{late[0].op_type} reads what nothing makes: {set(late[0].input) - ready}")
        waiting = late
    return [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
