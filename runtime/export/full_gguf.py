"""Writes a GGUF of a published size with random weights, tensor by tensor: llama.cpp's side of a comparison.

Q4_0 throughout (blocks of 32 with an f16 scale, 4.5 bits a weight), the token table included, as llama.cpp reads it
fastest. The values are not those of the ONNX folders; the shapes and the number of weights are. It has no vocabulary:
token ids are given by number.
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType

from shapes import CONTROL_IDS, GLOBAL_HEAD_DIM, HEAD_DIM, SLIDING, VOCABULARY, Size, products, tables, vectors

Q4_0 = GGMLQuantizationType.Q4_0
BLOCK = 32
BLOCK_BYTES = 18
ROWS_AT_ONCE = 16_384
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj", "layer_scalar": "layer_output_scale",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "post_per_layer_input_norm": "post_norm", "embed_tokens": "token_embd", "norm": "output_norm",
    "embed_tokens_per_layer": "per_layer_token_embd", "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm"}
"""Parts of a tensor's name, ours to llama.cpp's."""


def renamed(name: str) -> str:
    """A tensor's name in a GGUF."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("layers."):
        return f"{NAMES[stem]}.weight"
    _, layer, part = stem.split(".", 2)
    return f"blk.{layer}.{NAMES[part]}.weight"


def write_fields(size: Size, writer: gguf.GGUFWriter) -> None:
    """What llama.cpp reads of the architecture."""
    writer.add_name(f"{size.name} with random weights")
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("none")
    for add, token in ((writer.add_bos_token_id, "<bos>"), (writer.add_eos_token_id, "<eos>")):
        add(CONTROL_IDS[token])
    writer.add_context_length(size.context)
    writer.add_embedding_length(size.hidden)
    writer.add_block_count(size.layers)
    writer.add_feed_forward_length([size.width(layer) for layer in range(size.layers)])
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    for width, keys in ((GLOBAL_HEAD_DIM, (writer.add_key_length, writer.add_value_length,
                                           writer.add_rope_dimension_count)),
                        (HEAD_DIM, (writer.add_key_length_swa, writer.add_value_length_swa,
                                    writer.add_rope_dimension_count_swa))):
        for add in keys:
            add(width)
    writer.add_sliding_window(size.window)
    writer.add_sliding_window_pattern([kind == SLIDING for kind in size.kinds()])
    writer.add_shared_kv_layers(size.shared_layers)
    writer.add_embedding_length_per_layer_input(size.per_layer)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_rope_freq_base_swa(10_000.0)
    writer.add_final_logit_softcapping(30.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)


def plain(size: Size) -> dict:
    """The f32 tensors: norms, scalars, and which pairs of a global head turn."""
    found = {}
    for name, length in vectors(size).items():
        value = 0.1 if name.endswith(("q_norm.weight", "k_norm.weight")) else 1.0
        found[renamed(name)] = np.full(length, 0.8 if name.endswith("layer_scalar") else value, np.float32)
    turning = GLOBAL_HEAD_DIM // 8
    found["rope_freqs.weight"] = np.array([1.0] * turning + [1e30] * (GLOBAL_HEAD_DIM // 2 - turning), np.float32)
    return found


def packed(rows: int, columns: int, draw: np.random.Generator) -> np.ndarray:
    """Q4_0 blocks [rows, columns / 32 * 18]; scales keep a product's spread near one."""
    count = columns // BLOCK
    made = np.empty((rows, count, BLOCK_BYTES), np.uint8)
    for first in range(0, rows, ROWS_AT_ONCE):
        part = made[first:first + ROWS_AT_ONCE]
        scale = (0.8 + 0.4 * draw.random(part.shape[:2], dtype=np.float32)) / np.sqrt(min(columns, 1536)) / 4.6
        part[..., :2] = scale.astype(np.float16)[..., None].view(np.uint8)
        part[..., 2:] = np.frombuffer(draw.bytes(part[..., 2:].size), np.uint8).reshape(part[..., 2:].shape)
    return made.reshape(rows, -1)


def write(size: Size, seed: int, path: Path) -> None:
    """Writes the file, under another name until it is complete."""
    unfinished = path.with_suffix(".part")
    writer = gguf.GGUFWriter(str(unfinished), "gemma4")
    write_fields(size, writer)
    flat, matrices = plain(size), {renamed(name): shape for name, shape in (products(size) | tables(size)).items()}
    for name, array in flat.items():
        writer.add_tensor_info(name, array.shape, array.dtype, array.nbytes)
    for name, (rows, columns) in matrices.items():
        width = columns // BLOCK * BLOCK_BYTES
        writer.add_tensor_info(name, (rows, width), np.dtype(np.uint8), rows * width, raw_dtype=Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for array in flat.values():
        writer.write_tensor_data(array)
    draw = np.random.default_rng(seed)
    for rows, columns in matrices.values():
        writer.write_tensor_data(packed(rows, columns, draw))
    writer.close()
    unfinished.rename(path)
