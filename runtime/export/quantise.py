"""The published precisions, made of f32 graphs as the publishers' converters make them.

`q4`: matrices and tables in blocks of 32 with a zero point each. `fp16`: all arithmetic in half precision. `q4f16`:
both. `q8`: integer products with activations quantised as they come.
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

BLOCK = 32
MICROSOFT = "com.microsoft"
HALVED = ("fp16", "q4f16")
WIDE_INPUTS = ("inputs_embeds", "per_layer_inputs", "image_features", "audio_features", "pixel_values",
               "input_features")
"""Inputs and outputs that stay f32 in half-precision graphs; K, V and logits do not."""


def fingerprint(array: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes() + str(array.shape).encode()).digest()


def stepped(value: torch.Tensor) -> torch.Tensor:
    """A value as DynamicQuantizeLinear keeps it: 256 steps from its least to its largest element."""
    low, high = value.min().clamp(max=0), value.max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round(-low / scale).clamp(0, 255)
    return ((torch.round(value / scale) + zero).clamp(0, 255) - zero) * scale


class Rounded:
    """What became of matrices [outputs, inputs] and tables, by what they were, so that the reference can follow."""

    def __init__(self) -> None:
        self.values = {}

    def record(self, before: np.ndarray, after: np.ndarray) -> None:
        self.values[fingerprint(before)] = after

    @torch.no_grad()
    def apply(self, model, dtype: str) -> None:
        """Puts the rounded values into a model, and whatever else its precision rounds alike at every place."""
        rounded = set()
        for parameter in model.parameters():
            after = self.values.get(fingerprint(parameter.numpy()))
            if after is not None:
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(after)))
                rounded.add(id(parameter))
        for name, buffer in model.named_buffers():
            if dtype in HALVED and name.endswith("embed_scale"):
                buffer.copy_(buffer.half().float())
        for module in model.modules():
            products = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
            if dtype == "q8" and isinstance(module, products) and id(module.weight) in rounded:
                module.register_forward_pre_hook(lambda _, inputs: (stepped(inputs[0]), *inputs[1:]))


def blocks(matrix: np.ndarray, scale_type) -> tuple:
    """Four-bit blocks along the rows of [rows, columns]: packed values, scales, packed zero points, what they mean."""
    rows, columns = matrix.shape
    count = -(-columns // BLOCK)
    padded = np.zeros((rows, count * BLOCK), np.float32)
    padded[:, :columns] = matrix
    cut = padded.reshape(rows, count, BLOCK)
    low, high = np.minimum(cut.min(-1), 0), np.maximum(cut.max(-1), 0)
    scale = np.maximum((high - low) / 15, 1e-6).astype(scale_type).astype(np.float32)
    zero = np.clip(np.rint(-low / scale), 0, 15)
    value = np.clip(np.rint(cut / scale[..., None]) + zero[..., None], 0, 15)
    meant = ((value - zero[..., None]) * scale[..., None]).reshape(rows, -1)[:, :columns]
    pair = lambda nibbles: (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).astype(np.uint8)
    zeros = zero.astype(np.uint8)
    if count % 2:
        zeros = np.concatenate([zeros, np.full((rows, 1), 8, np.uint8)], axis=1)
    return pair(value.astype(np.uint8)), scale, pair(zeros), meant.astype(np.float32)


def to_nibbles(model: onnx.ModelProto, rounded: Rounded, scale_type=np.float32) -> None:
    """Replaces constant matrices by MatMulNBits, and embedding tables by GatherBlockQuantized."""
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        held = [arrays[name] for name in node.input if name in arrays]
        if node.op_type == "MatMul" and node.input[1] in arrays and len(arrays[node.input[1]].dims) == 2:
            packed_product(model.graph, node, arrays[node.input[1]], rounded, scale_type)
        elif node.op_type == "Gather" and "embed_tokens" in node.input[0] and held:
            packed_rows(model.graph, node, arrays[node.input[0]], rounded, scale_type)
    finish(model)


def packed_product(graph, node, tensor, rounded: Rounded, scale_type) -> None:
    matrix = numpy_helper.to_array(tensor).T
    value, scale, zero, meant = blocks(matrix, scale_type)
    rounded.record(matrix, meant)
    outputs, inputs = matrix.shape
    name = tensor.name
    node.input[1:] = [hold(graph, f"{name}.nibbles", value), hold(graph, f"{name}.scales", scale.reshape(-1)),
                      hold(graph, f"{name}.zeros", zero.reshape(-1))]
    node.op_type, node.domain = "MatMulNBits", MICROSOFT
    fields = {"K": inputs, "N": outputs, "bits": 4, "block_size": BLOCK}
    node.attribute.extend(helper.make_attribute(key, field) for key, field in fields.items())


def packed_rows(graph, node, tensor, rounded: Rounded, scale_type) -> None:
    table = numpy_helper.to_array(tensor)
    value, scale, zero, meant = blocks(table, scale_type)
    rounded.record(table, meant)
    name, ids = tensor.name, node.input[1]
    node.input[:] = [hold(graph, f"{name}.nibbles", value.reshape(len(table), -1)), ids,
                     hold(graph, f"{name}.scales", scale), hold(graph, f"{name}.zeros", zero)]
    node.op_type, node.domain = "GatherBlockQuantized", MICROSOFT
    del node.attribute[:]
    fields = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    node.attribute.extend(helper.make_attribute(key, field) for key, field in fields.items())


def hold(graph, name: str, array: np.ndarray) -> str:
    if all(tensor.name != name for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return name


def finish(model: onnx.ModelProto) -> None:
    """Drops what nothing reads any more, and declares the operators of ONNX Runtime."""
    read = {name for node in model.graph.node for name in node.input} | {out.name for out in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    if all(opset.domain != MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    del model.graph.value_info[:]


def converted(model: onnx.ModelProto, dtype: str, rounded: Rounded) -> onnx.ModelProto:
    """A copy of an f32 graph in another precision."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    if dtype in ("q4", "q4f16"):
        to_nibbles(twin, rounded, np.float16 if dtype in HALVED else np.float32)
    if dtype in HALVED:
        return to_half(twin, rounded)
    return to_bytes(twin, rounded) if dtype == "q8" else twin


def to_half(model: onnx.ModelProto, rounded: Rounded) -> onnx.ModelProto:
    """All arithmetic in half precision; embeddings, features and media stay f32 at the edges."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            half = array.astype(np.float16).astype(np.float32)
            rounded.record(array, half)
            if array.ndim == 2:
                rounded.record(array.T, half.T)
            if array.ndim == 3:
                rounded.record(array.transpose(0, 2, 1), half.transpose(0, 2, 1))
    names = [value.name for value in (*model.graph.input, *model.graph.output) if value.name in WIDE_INPUTS]
    return convert_float_to_float16(model, keep_io_types=names, disable_shape_infer=True,
                                    min_positive_val=6e-8, max_finite_val=65504.0)


def to_bytes(model: onnx.ModelProto, rounded: Rounded) -> onnx.ModelProto:
    """Integer products, one scale for each matrix, and tables of bytes."""
    has_convolution = any(node.op_type == "Conv" for node in model.graph.node)
    # Signed weights would saturate in the products of processors without VNNI.
    kind = QuantType.QUInt8
    is_table = any("embed_tokens" in tensor.name for tensor in model.graph.initializer) and not has_convolution
    kinds = ["MatMul", "Conv"] + (["Gather"] if is_table else [])
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    turned = {node.input[1] for node in model.graph.node if node.op_type == "Gemm"
              and any(field.name == "transB" and field.i for field in node.attribute)}
    # The tracer folds the relative keys of the audio tower into a constant; only weights are quantised.
    folded = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in before
              and before[node.input[1]].ndim != 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantised.onnx"
        quantize_dynamic(model, path, op_types_to_quantize=kinds, weight_type=kind,
                         nodes_to_exclude=folded, extra_options={"EnableSubgraph": False, "MatMulConstBOnly": True,
                                        "DefaultTensorType": TensorProto.FLOAT})
        made = onnx.load(path)
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    for name, array in before.items():
        if f"{name}_quantized" in after:
            scale, zero = after[f"{name}_scale"], after[f"{name}_zero_point"].astype(np.float32)
            meant = (after[f"{name}_quantized"].astype(np.float32) - zero) * scale
            meant = meant.T if name in turned else meant
            rounded.record(array, meant)
            rounded.record(array.T, meant.T)
    return made
