"""Exports the vision and audio towers through torch, then stores their matrices as fp16."""

import logging
import random
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from media import FRAMES_STEP, draw_shapes, speak


OPSET = 18


class VisionEncoder(torch.nn.Module):
    """Patches to image features [soft tokens, hidden], padding removed."""

    def __init__(self, model) -> None:
        super().__init__()
        self.tower, self.project = model.model.vision_tower, model.model.embed_vision

    def forward(self, pixel_values, pixel_position_ids):
        features = self.tower(pixel_values=pixel_values, pixel_position_ids=pixel_position_ids).last_hidden_state
        return self.project(inputs_embeds=features)


class AudioEncoder(torch.nn.Module):
    """Mel frames to audio features [soft tokens, hidden], padding removed."""

    def __init__(self, model) -> None:
        super().__init__()
        self.tower, self.project = model.model.audio_tower, model.model.embed_audio

    def forward(self, input_features, input_features_mask):
        output = self.tower(input_features, input_features_mask, return_dict=True)
        return self.project(inputs_embeds=output.last_hidden_state)[output.attention_mask]


def clipped_forward(self, value):
    """The clipped linear with its bounds as numbers: the exporter loses scalar buffers."""
    low_in, high_in, low_out, high_out = self.bounds
    return torch.clamp(self.linear(torch.clamp(value, low_in, high_in)), low_out, high_out)


def fix_bounds(model) -> None:
    """Turns the clip bounds of every clipped linear into numbers."""
    for module in model.modules():
        if isinstance(module, Gemma4ClippableLinear) and module.use_clipped_linears:
            module.bounds = [float(bound) for bound in
                             (module.input_min, module.input_max, module.output_min, module.output_max)]
            module.forward = clipped_forward.__get__(module)


def traced(module, arguments: tuple, inputs: list, output: str, dynamic: tuple, length: str) -> onnx.ModelProto:
    """Traces `module`, f32; `length` names the inputs' free dimension."""
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(module.eval(), arguments, str(path), input_names=inputs, output_names=[output],
                          opset_version=OPSET, dynamo=True, external_data=False, verbose=False, dynamic_shapes=dynamic)
        graph = onnx.load(path)
    for value in graph.graph.input:
        value.type.tensor_type.shape.dim[1].dim_param = length
    graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "num_soft_tokens"
    del graph.graph.value_info[:]
    for node in [*graph.graph.node, graph, graph.graph]:
        del node.metadata_props[:]
        node.doc_string = ""
    return graph


def save_half(graph: onnx.ModelProto, path: Path) -> None:
    """Writes one file with fp16-stored matrices."""
    store_half(graph)
    onnx.save(graph, str(path))
    onnx.checker.check_model(str(path))


def store_half(model: onnx.ModelProto, smallest: int = 256) -> None:
    """Replaces f32 matrices that fp16 holds exactly (the rounded weights, not traced tables) by fp16 ones and a Cast."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < smallest:
            continue
        name, exact = tensor.name, numpy_helper.to_array(tensor)
        if not np.array_equal(exact.astype(np.float16), exact):
            continue
        half = numpy_helper.from_array(exact.astype(np.float16), f"{name}.half")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=f"{name}/widen", to=TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def trace_vision(model, pixels, positions) -> onnx.ModelProto:
    """`pixel_values`, `pixel_position_ids` -> `image_features`, any multiple of nine patches."""
    return traced(VisionEncoder(model), (pixels, positions), ["pixel_values", "pixel_position_ids"], "image_features",
                  ({1: torch.export.Dim.AUTO}, {1: torch.export.Dim.AUTO}), "num_patches")


def trace_audio(model, features, mask) -> onnx.ModelProto:
    """`input_features`, `input_features_mask` -> `audio_features`; frames must be a multiple of 48."""
    steps = torch.export.Dim("steps", min=2, max=128)
    return traced(AudioEncoder(model), (features, mask), ["input_features", "input_features_mask"], "audio_features",
                  ({1: FRAMES_STEP * steps}, {1: FRAMES_STEP * steps}), "num_frames")


def export_vision(model, towers, path: Path) -> None:
    """The demo model's vision encoder, traced with a drawn picture."""
    save_half(trace_vision(model, *towers.pixels(draw_shapes(random.Random(3)))), path)


def export_audio(model, towers, path: Path) -> None:
    """The demo model's audio encoder, traced with spoken words."""
    save_half(trace_audio(model, *towers.frames(speak("turn on the light in the kitchen"))), path)
