"""The drafter of a miniature: Gemma 4's multi-token prediction, which reads the keys and values of the model itself.

Its graph takes and gives what published exports of `gemma-4-*-it-assistant` do: `inputs_embeds` is the embedding of the
last token beside the state before it, `shared_kv.<kind>.<part>` are the keys and values of the model's last layer of
each kind; out come `logits` and `projected_state`, the state for the next token of the draft.
"""

import copy

import torch
from onnx import TensorProto
from transformers import Gemma4AssistantConfig, Gemma4AssistantForCausalLM, Gemma4TextConfig
from transformers.generation.candidate_generator import SinglePositionMultiTokenCandidateGenerator

from decoder import F32, GLOBAL, I64, Decoder, TextShape
from graph import Graph
from variants import GLOBAL_HEAD_DIM, Variant, spread

HIDDEN, CENTROIDS, CENTROIDS_SEEN = 32, 16, 4
LAYER_TYPES = ["sliding_attention"] * 3 + [GLOBAL]
DRAFTED = 6
"""Tokens of a draft."""


def sharing(layers: Gemma4TextConfig) -> list:
    """Which layers reuse keys and values, and which are the last of their kind to make some, for others to reuse.

    transformers 5.23 refuses models whose layers all reuse, as a drafter's do, and keeps nothing for a drafter where no
    layer of the model itself reuses.
    """
    made = layers.layer_types[:layers.num_hidden_layers - layers.num_kv_shared_layers]
    last = {kind: place for place, kind in enumerate(made)}
    return ["store" if place in last.values() else None for place in range(len(made))] \
        + ["reuse"] * layers.num_kv_shared_layers


Gemma4TextConfig.kv_sharing_modes = property(sharing)


def config(variant: Variant, target) -> Gemma4AssistantConfig:
    """Four layers with the heads of the model's own, so that its keys fit; the small sizes choose among centroids."""
    text = target.config.text_config
    layers = Gemma4TextConfig(
        vocab_size=text.vocab_size, hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=len(LAYER_TYPES),
        layer_types=LAYER_TYPES, num_kv_shared_layers=len(LAYER_TYPES), num_attention_heads=4,
        num_key_value_heads=variant.text["num_key_value_heads"], num_global_key_value_heads=variant.global_kv_heads,
        attention_k_eq_v=variant.text["attention_k_eq_v"], head_dim=text.per_layer_config[0].head_dim,
        global_head_dim=GLOBAL_HEAD_DIM, sliding_window=text.sliding_window, hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=0, max_position_embeddings=text.max_position_embeddings, tie_word_embeddings=True,
        use_bidirectional_attention=None)
    return Gemma4AssistantConfig(text_config=layers, backbone_hidden_size=text.hidden_size,
                                 use_ordered_embeddings=variant.hears, num_centroids=CENTROIDS,
                                 centroid_intermediate_top_k=CENTROIDS_SEEN)


@torch.no_grad()
def build(variant: Variant, target) -> Gemma4AssistantForCausalLM:
    """The drafter of a model, f32, with seeded weights."""
    torch.manual_seed(variant.seed)
    made = config(variant, target)
    made._attn_implementation = "eager"
    model = Gemma4AssistantForCausalLM(made).eval().float()
    draw = torch.Generator().manual_seed(variant.seed)
    for name, tensor in model.named_parameters():
        spread(f"language_model.{name}", tensor, draw)
    if model.masked_embedding is not None:
        model.masked_embedding.token_ordering.copy_(torch.randperm(made.text_config.vocab_size, generator=draw))
    model.tie_weights()
    return model


class Drafter(Decoder):
    """Writes the graph of a drafter."""

    def __init__(self, model: Gemma4AssistantForCausalLM) -> None:
        weights = {name.removeprefix("model."): tensor.detach().numpy() for name, tensor in model.state_dict().items()}
        super().__init__(TextShape(model.config.text_config, GLOBAL_HEAD_DIM), weights, half=False)
        self.graph = Graph("assistant", self.opset, half=False)
        self.whole = model.config

    def declare_inputs(self) -> None:
        declare, shape = self.graph.input, self.shape
        declare("inputs_embeds", F32, ["batch", "q_len", 2 * self.whole.backbone_hidden_size])
        declare("position_ids", I64, ["batch", "q_len"])
        declare("attention_mask", I64, ["batch", "kv_len_full_attention"])
        for kind in dict.fromkeys(shape.config.layer_types):
            layer = shape.config.layer_types.index(kind)
            dims = ["batch", shape.kv_heads(layer), f"kv_len_{kind}", shape.head_dim(layer)]
            self.past[kind] = tuple(declare(f"shared_kv.{kind}.{part}", F32, dims) for part in ("key", "value"))

    def prepare_masks(self) -> None:
        """One token sees all that it is given."""

    def embeddings(self) -> str:
        return self.linear("inputs_embeds", "pre_projection.weight")

    def attend(self, layer: int, query: str, value: str, name: str) -> str:
        op, shape = self.graph.op, self.shape
        query = self.rotate(query, layer)
        key, content = (self.repeated(part, layer) for part in self.past[shape.kind(layer)])
        scores = op("MatMul", [query, op("Transpose", [key], perm=[0, 1, 3, 2])])
        mixed = op("MatMul", [op("Softmax", [scores], axis=-1), content])
        return self.reshape(op("Transpose", [mixed], perm=[0, 2, 1, 3]), [0, 0, shape.heads * shape.head_dim(layer)])

    def build(self) -> Graph:
        self.declare_inputs()
        self.prepare_rotation()
        value = self.embeddings()
        for layer in range(self.shape.layers):
            value = self.block(layer, value, None)
        value = self.norm(value, "norm.weight")
        projected = self.linear(value, "post_projection.weight")
        self.graph.op("Identity", [projected], outputs=["projected_state"])
        scores = self.chosen(value) if self.whole.use_ordered_embeddings else self.linear(value, "lm_head.weight")
        self.graph.op("Identity", [scores], outputs=["logits"])
        self.graph.output("logits", F32, ["batch", "q_len", self.shape.vocabulary])
        self.graph.output("projected_state", F32, ["batch", "q_len", self.whole.backbone_hidden_size])
        return self.graph

    def chosen(self, value: str) -> str:
        """Logits of the tokens around the likeliest centroids, below them all others; for one row."""
        op, constant, hidden = self.graph.op, self.graph.constant, self.shape.hidden
        scores = self.linear(value, "masked_embedding.centroids.weight")
        _, best = op("TopK", [scores, constant([CENTROIDS_SEEN])], outputs=2, axis=-1)
        order = self.weights["masked_embedding.token_ordering"].reshape(CENTROIDS, -1)
        tokens = self.reshape(op("Gather", [self.graph.initializer("token_ordering", order), best], axis=0), [1, 1, -1])
        rows = op("Gather", [self.graph.weight("lm_head.weight", self.weights["lm_head.weight"]), tokens], axis=0)
        found = op("MatMul", [rows, self.reshape(value, [1, 1, hidden, 1])])
        found = self.reshape(found, [1, 1, -1])
        least = op("Sub", [op("ReduceMin", [found], keepdims=1), self.real(1.0)])
        everywhere = op("Expand", [least, constant([1, 1, self.shape.vocabulary])])
        return op("ScatterElements", [everywhere, tokens, found], axis=-1)


@torch.no_grad()
def drafts(target, drafter, inputs: dict, continuation: list, places: list) -> list:
    """What transformers drafts behind a prompt and the first tokens of its continuation."""
    settings = copy.deepcopy(target.generation_config)
    settings.max_length = 10_000
    drafter.generation_config.num_assistant_tokens = DRAFTED
    found = []
    for place in places:
        written = torch.tensor([continuation[:place + 1]])
        ids = torch.cat([inputs["input_ids"], written], dim=-1)
        seen = dict(inputs) | {"input_ids": ids[:, :-1], "attention_mask": torch.ones_like(ids[:, :-1])}
        types = inputs.get("mm_token_type_ids")
        if types is not None:
            seen["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(written[:, 1:])], dim=-1)
        outputs = target(**seen, output_hidden_states=True, return_shared_kv_states=True, use_cache=True)
        generator = SinglePositionMultiTokenCandidateGenerator(drafter, target.get_input_embeddings(), settings)
        drafted, _ = generator.get_candidates(ids, {"attention_mask": torch.ones_like(ids)}, outputs, False, 0)
        found.append({"after": place, "draft": drafted[0, ids.shape[1]:].tolist()})
    return found
