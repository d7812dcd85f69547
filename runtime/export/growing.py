"""A tower that has learnt gets more layers, which change nothing at first: early steps are cheap, late ones deep."""

import re
from pathlib import Path

import torch

LAYER = re.compile(r"(tower\.(?:encoder\.)?layers\.)(\d+)(\..*)")
SILENT = ("post_attention_layernorm.weight", "post_feedforward_layernorm.weight", "norm_post_attn.weight",
          "post_layer_norm.weight", "lconv1d.linear_end.linear.weight")
"""Parameters that scale what a layer adds to the stream."""


@torch.no_grad()
def grow(deep: torch.nn.Module, path: Path, layers: int) -> None:
    """Gives a stage's module the weights of a checkpoint with fewer layers; all others stay silent at first.

    The upper half of the learnt layers goes on top, the silent ones lie in the middle.
    """
    learnt, fresh = torch.load(path, weights_only=True)["module"], deep.state_dict()
    added = layers - 1 - max(int(LAYER.match(name)[2]) for name in learnt if LAYER.match(name))
    middle = (layers - added + 1) // 2
    moved = lambda match: f"{match[1]}{int(match[2]) + added * (int(match[2]) >= middle)}{match[3]}"
    weights = fresh | {LAYER.sub(moved, name): tensor for name, tensor in learnt.items()}
    for name in weights:
        match = LAYER.match(name)
        if match and middle <= int(match[2]) < middle + added:
            if name.endswith(SILENT):
                weights[name] = torch.zeros_like(weights[name])
            elif name.endswith("norm_out.weight"):
                below = weights[f"{match[1]}{middle - 1}{match[3]}"]
                weights[name] = torch.full_like(below, below.pow(2).mean().sqrt())
    deep.load_state_dict(weights)
