"""Graphs with random four-bit weights that are written as they are drawn, so that memory stays small whatever the size.

Two layouts of one model share their tensors: the same bytes lie in the same data files, whichever graph reads them.
"""

import math
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from builder import BuilderDecoder
from decoder import F32, I64, Decoder
from graph import ALIGNMENT, EXTERNAL_MIN_BYTES, Graph
from mobius import Embedding, GroupedDecoder, StandardDecoder
from shapes import Size, products, tables, text_shape, vectors

BLOCK = 32
ACCURACY = 4
"""Activations are rounded to eight bits for each product, as the published conversions ask for."""
FILE_BYTES_MAX = 2_000_000_000
NIBBLE_DEVIATION = 4.61
"""Standard deviation of sixteen equally likely values."""
DTYPES = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("uint8"): TensorProto.UINT8,
          np.dtype("int64"): TensorProto.INT64}


class DataFiles:
    """Data files of one graph, at most 2 GB each, and where each tensor lies in them."""

    def __init__(self, path: Path) -> None:
        self.path, self.files, self.tensors = path, [], {}
        self.handle = None

    def name(self, number: int) -> str:
        return self.path.name + (f"_{number}" if number else "")

    def put(self, name: str, array: np.ndarray) -> TensorProto:
        """Appends a tensor."""
        if self.handle is None or self.handle.tell() + array.nbytes > FILE_BYTES_MAX:
            self.close()
            self.files.append(self.path.with_name(self.name(len(self.files))))
            self.handle = self.files[-1].open("wb")
        self.handle.write(b"\0" * (-self.handle.tell() % ALIGNMENT))
        tensor = TensorProto(name=name, data_type=DTYPES[array.dtype], dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.files[-1].name), ("offset", self.handle.tell()),
                           ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.handle.write(np.ascontiguousarray(array).data)
        self.tensors[name] = tensor
        return tensor

    def close(self) -> None:
        if self.handle:
            self.handle.close()
            self.handle = None


class Weights:
    """Random weights by name. What a name holds follows from it and the seed, not from the order of asking."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.seed = size, seed
        self.products, self.tables, self.vectors = products(size), tables(size), vectors(size)

    def draw(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def __getitem__(self, name: str) -> np.ndarray:
        """Weights of a norm, or a scalar. Small query norms keep attention spread: its softmax scale is 1."""
        length = self.vectors[name]
        if name.endswith("layer_scalar"):
            return np.full(length, 0.8, np.float32)
        low, high = (0.05, 0.15) if name.endswith(("q_norm.weight", "k_norm.weight")) else (0.5, 1.5)
        return self.draw(name).uniform(low, high, length).astype(np.float32)

    def deviation(self, name: str, inputs: int, is_table: bool) -> float:
        """Spread of the weights, so that every part of the model has about the same say."""
        if not is_table:
            return 1 / math.sqrt(inputs)
        return 0.2 if "per_layer" in name else 1 / math.sqrt(self.size.hidden)

    def blocks(self, name: str, shape: tuple, is_table: bool) -> tuple:
        """Packed nibbles [rows, blocks, 16], scales [rows, blocks] f32, packed zero points."""
        rows, columns = shape
        count, draw = columns // BLOCK, self.draw(name + (".table" if is_table else ""))
        nibbles = np.frombuffer(draw.bytes(rows * count * BLOCK // 2), np.uint8).reshape(rows, count, BLOCK // 2)
        step = self.deviation(name, columns, is_table) / NIBBLE_DEVIATION
        scales = draw.random((rows, count), dtype=np.float32)
        scales *= np.float32(0.4 * step)
        scales += np.float32(0.8 * step)
        zeros = draw.integers(7, 9, (rows, count + count % 2), dtype=np.uint8)
        return nibbles, scales, zeros[:, 0::2] | zeros[:, 1::2] << 4


class StreamedGraph(Graph):
    """A graph whose larger tensors go straight to data files."""

    def __init__(self, name: str, opset: int, data: DataFiles, weights: Weights,
                 other: DataFiles | None = None) -> None:
        """`other` are the files of a graph written before, whose tensors of the same name are used."""
        super().__init__(name, opset, half=False)
        self.data, self.weights, self.other, self.placed = data, weights, other, {}

    def initializer(self, name: str, array: np.ndarray) -> str:
        array = np.asarray(array, order="C")
        if array.nbytes < EXTERNAL_MIN_BYTES:
            return super().initializer(name, array)
        return self.place(name, lambda: array)

    def place(self, name: str, make) -> str:
        """Names a tensor, which is made unless it lies in a file already."""
        if name not in self.placed:
            known = [files.tensors[name] for files in (self.data, self.other) if files and name in files.tensors]
            self.placed[name] = known[0] if known else self.data.put(name, make())
        return name

    def packed(self, name: str, shape: tuple, is_table: bool) -> list:
        """The three tensors of a quantised matrix or table."""
        names = [f"{name}.{part}" for part in ("nibbles", "scales", "zeros")]
        if all(self.other and one in self.other.tensors or one in self.data.tensors for one in names):
            return [self.place(one, None) for one in names]
        nibbles, scales, zeros = self.weights.blocks(name, shape, is_table)
        if is_table:
            nibbles = nibbles.reshape(shape[0], -1)
        else:
            scales, zeros = scales.reshape(-1), zeros.reshape(-1)
        return [self.place(one, lambda array=array: array) for one, array in zip(names, (nibbles, scales, zeros))]

    def product(self, value: str, name: str) -> str:
        """A product with a quantised matrix."""
        outputs, inputs = self.weights.products[name]
        parts = self.packed(name, (outputs, inputs), is_table=False)
        return self.op("MatMulNBits", [value, *parts], name=f"{name}/MatMul", K=inputs, N=outputs, bits=4,
                       block_size=BLOCK, accuracy_level=ACCURACY)

    def rows(self, ids: str, name: str, width: int) -> str:
        """Rows of a quantised table, scaled by the root of `width`."""
        nibbles, scales, zeros = self.packed(name, self.weights.tables[name], is_table=True)
        found = self.op("GatherBlockQuantized", [nibbles, ids, scales, zeros], bits=4, block_size=BLOCK,
                        gather_axis=0, quantize_axis=1)
        return self.op("Mul", [found, self.constant(width ** 0.5, np.float32)])

    def write(self, path: Path, locations: dict) -> None:
        """Writes the graph; `locations` gives data files the names that they have beside it."""
        model = self.model()
        for tensor in self.placed.values():
            moved = model.graph.initializer.add()
            moved.CopyFrom(tensor)
            place = next(entry for entry in moved.external_data if entry.key == "location")
            place.value = locations.get(place.value, place.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path))


class Streamed:
    """What every decoder of random weights does its own way."""

    def linear(self, value: str, name: str) -> str:
        return self.graph.product(value, name)


class StreamedBuilder(Streamed, BuilderDecoder):
    """Layout A as published: GroupQueryAttention behind the onnx-community interface."""


class StreamedPlain(Streamed, Decoder):
    """Layout A with standard operators, for sizes whose pictures see themselves."""


class LastRow(Streamed):
    """Logits of the last row alone: onnxruntime-genai reads no other, and computing all would only slow it down."""

    def kept(self, value: str) -> str:
        constant = self.graph.constant
        return self.graph.op("Slice", [value, constant([-1]), constant([2**62]), constant([1])])


    def declare_outputs(self) -> None:
        """onnxruntime-genai asks for the last row where the graph says that there is one."""
        super().declare_outputs()
        logits = next(port for port in self.graph.outputs if port.name == "logits")
        logits.type.tensor_type.shape.dim[1].dim_value = 1


class StreamedGrouped(LastRow, GroupedDecoder):
    """Layout B with GroupQueryAttention."""


class StreamedStandard(LastRow, StandardDecoder):
    """Layout B with the standard Attention operator, for sizes whose pictures see themselves."""


class StreamedEmbedding(Streamed, Embedding):
    """Layout B's embedding graph, for text: it takes features, as its interface demands, and puts them nowhere.

    Their width stays open, for onnxruntime-genai makes empty ones as wide as its encoders give, which are miniatures.
    """

    def build(self, hears: bool) -> Graph:
        shape, graph = self.shape, self.graph
        graph.name = "embedding"
        graph.input("input_ids", I64, ["batch", "sequence_len"])
        for kind in ["image"] + (["audio"] if hears else []):
            graph.input(f"{kind}_features", F32, [f"num_{kind}_tokens", "width"])
        value = graph.rows("input_ids", "embed_tokens.weight", shape.hidden)
        graph.op("Identity", [value], outputs=["inputs_embeds"])
        graph.output("inputs_embeds", F32, ["batch", "sequence_len", shape.hidden])
        if shape.per_layer:
            width = shape.layers * shape.per_layer
            token_part = graph.rows("input_ids", "embed_tokens_per_layer.weight", shape.per_layer)
            token_part = self.reshape(token_part, [0, 0, shape.layers, shape.per_layer])
            graph.op("Reshape", [self.combined(value, token_part), graph.constant([0, 0, width])],
                     outputs=["per_layer_inputs"])
            graph.output("per_layer_inputs", F32, ["batch", "sequence_len", width])
        return graph


def decoder(kind: type, weights: Weights, data: DataFiles, other: DataFiles | None = None) -> StreamedGraph:
    """A decoder of one kind, its weights drawn where no file holds them yet."""
    made = kind(text_shape(weights.size), weights)
    made.graph = StreamedGraph(made.graph.name, made.opset, data, weights, other)
    return made.build()


def embedding(weights: Weights, data: DataFiles, other: DataFiles) -> StreamedGraph:
    """Layout B's embedding graph."""
    made = StreamedEmbedding(text_shape(weights.size), weights)
    made.graph = StreamedGraph("embedding", made.opset, data, weights, other)
    return made.build(hears=weights.size.per_layer > 0)


def embed_tokens(weights: Weights, data: DataFiles) -> StreamedGraph:
    """Layout A's embedding graph."""
    shape = text_shape(weights.size)
    graph = StreamedGraph("embed_tokens", BuilderDecoder.opset, data, weights)
    graph.input("input_ids", I64, ["batch_size", "sequence_length"])
    graph.op("Identity", [graph.rows("input_ids", "embed_tokens.weight", shape.hidden)], outputs=["inputs_embeds"])
    graph.output("inputs_embeds", F32, ["batch_size", "sequence_length", shape.hidden])
    if shape.per_layer:
        rows = graph.rows("input_ids", "embed_tokens_per_layer.weight", shape.per_layer)
        dims = graph.constant([0, 0, shape.layers, shape.per_layer])
        graph.op("Reshape", [rows, dims], outputs=["per_layer_inputs"])
        graph.output("per_layer_inputs", F32, ["batch_size", "sequence_length", shape.layers, shape.per_layer])
    return graph
