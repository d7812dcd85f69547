"""Writes the decoder with the operators of onnxruntime-genai's model builder, behind the onnx-community interface.

The published graphs of E2B and E4B are of this kind: GroupQueryAttention turns and masks by itself in the layers that
own K and V, and takes an additive mask in those that read another layer's.
"""

from decoder import GLOBAL, Decoder
from mobius import GroupedDecoder

OPSET = 21


class BuilderDecoder(GroupedDecoder):
    """SimplifiedLayerNormalization, GroupQueryAttention with and without a mask, and contributed GELU and skips."""

    opset = OPSET
    declare_inputs = Decoder.declare_inputs
    kept = Decoder.kept
    per_layer_inputs = Decoder.per_layer_inputs

    def simplified(self, value: str, factor: str) -> str:
        return self.graph.op("SimplifiedLayerNormalization", [value, factor], axis=-1, stash_type=1,
                             epsilon=self.shape.config.rms_norm_eps)

    def norm(self, value: str, name: str) -> str:
        return self.simplified(value, self.graph.weight(name, self.weights[name]))

    def plain_norm(self, value: str, width: int) -> str:
        return self.simplified(value, self.ones(width))

    def prepare_masks(self) -> None:
        """The lengths for the operator, and the masks for shared layers."""
        Decoder.prepare_masks(self)
        super().prepare_masks()

    def extra_inputs(self, layer: int) -> list:
        bias = [] if layer < self.shape.owners else [self.masks[self.shape.kind(layer)]]
        return ["position_ids", *bias]

    def window(self, layer: int) -> dict:
        """The mask of a shared layer holds its window."""
        return super().window(layer) if layer < self.shape.owners else {}
