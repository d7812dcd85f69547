"""Writes the two encoder graphs of the 12B, which has no towers: raw patches and raw frames, projected."""

import numpy as np
import onnx
from onnx import TensorProto

from graph import Graph

F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
LAYER_NORM_EPS = 1e-5


class Projector:
    """Nodes that both graphs share."""

    def __init__(self, name: str, weights: dict, eps: float) -> None:
        self.graph, self.weights, self.eps = Graph(name, half=False), weights, eps

    def projected(self, value: str, name: str) -> str:
        """RMS norm without weight, then the matrix `name`."""
        op = self.graph.op
        mean = op("ReduceMean", [op("Mul", [value, value])], axes=[-1], keepdims=1)
        scaled = op("Div", [value, op("Sqrt", [op("Add", [mean, self.graph.constant(self.eps, np.float32)])])])
        return op("MatMul", [scaled, self.graph.weight(f"{name}.transposed", self.weights[name].T)])

    def normed(self, value: str, name: str) -> str:
        """Layer norm with weight and bias."""
        parts = [self.graph.weight(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.graph.op("LayerNormalization", [value, *parts], axis=-1, epsilon=LAYER_NORM_EPS)

    def chosen(self, value: str, real: str, output: str, hidden: int) -> onnx.ModelProto:
        """Rows [1, rows, hidden] that are no padding, as the output [real rows, hidden]."""
        op = self.graph.op
        rows = self.graph.op("Reshape", [value, self.graph.constant([-1, hidden])])
        op("Compress", [rows, op("Reshape", [real, self.graph.constant([-1])])], axis=0, outputs=[output])
        self.graph.output(output, F32, ["num_soft_tokens", hidden])
        return self.graph.model()


def vision_encoder(weights: dict, eps: float) -> onnx.ModelProto:
    """`pixel_values` [1, patches, 6912], `pixel_position_ids` [1, patches, 2] -> `image_features`."""
    made = Projector("vision_encoder", weights, eps)
    graph, op, constant = made.graph, made.graph.op, made.graph.constant
    table = weights["pos_embedding"]
    width = weights["patch_dense.weight"].shape[1]
    pixels = graph.input("pixel_values", F32, ["batch_size", "num_patches", width])
    places = graph.input("pixel_position_ids", I64, ["batch_size", "num_patches", 2])
    dense = graph.weight("patch_dense.transposed", weights["patch_dense.weight"].T)
    value = op("MatMul", [made.normed(pixels, "patch_ln1"), dense])
    value = op("Add", [value, graph.weight("patch_dense.bias", weights["patch_dense.bias"])])
    value = made.normed(value, "patch_ln2")
    real = op("GreaterOrEqual", [op("ReduceMin", [places], axes=[-1], keepdims=0), constant(0)])
    for axis in (0, 1):
        place = op("Max", [op("Gather", [places, constant(axis)], axis=2), constant(0)])
        row = op("Gather", [graph.weight(f"pos_embedding.{axis}", table[:, axis]), place], axis=0)
        value = op("Add", [value, row])
    value = made.projected(made.normed(value, "pos_norm"), "multimodal_embedder.embedding_projection.weight")
    return made.chosen(value, real, "image_features", hidden_size(weights, "multimodal_embedder."))


def audio_encoder(weights: dict, eps: float) -> onnx.ModelProto:
    """`input_features` [1, frames, 640], `input_features_mask` [1, frames] -> `audio_features`."""
    made = Projector("audio_encoder", weights, eps)
    width = weights["embedding_projection.weight"].shape[1]
    frames = made.graph.input("input_features", F32, ["batch_size", "num_frames", width])
    mask = made.graph.input("input_features_mask", BOOL, ["batch_size", "num_frames"])
    value = made.projected(frames, "embedding_projection.weight")
    return made.chosen(value, mask, "audio_features", hidden_size(weights, ""))


def hidden_size(weights: dict, part: str) -> int:
    return weights[f"{part}embedding_projection.weight"].shape[0]
