"""What transformers answers to a case: the logits of its prompt, and the greedy continuation."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

CONTINUED = 64
WHOLE = {"text"}
"""Cases whose logits may be kept for every row of the prompt; of the others the last row is."""


class Expected:
    """Answers of one checkpoint, collected case by case."""

    def __init__(self, model, suppressed: list, whole: bool) -> None:
        """`suppressed` are the ids that a reply never contains: placeholders, and what the folder suppresses.

        `whole` keeps all rows of the cases in `WHOLE`.
        """
        self.model, self.suppressed, self.whole = model, suppressed, whole
        self.cases, self.logits = {}, []

    @torch.no_grad()
    def add(self, case: str, inputs: dict) -> dict:
        """Runs a case."""
        prompt = inputs["input_ids"][0].tolist()
        cache = DynamicCache(config=self.model.config.text_config)
        masks = self.masks(inputs, cache)
        logits = self.model(**(inputs | masks), past_key_values=cache, use_cache=True).logits[0]
        kept = logits if self.whole and case in WHOLE else logits[-1:]
        continuation, margins = self.continued(logits[-1], cache, len(prompt))
        self.cases[case] = {"prompt_ids": prompt, "rows": len(kept), "continuation_ids": continuation,
                            "margins": [float(f"{margin:.2g}") for margin in margins]}
        self.logits.append(kept.numpy())
        return self.cases[case]

    def masks(self, inputs: dict, cache) -> dict:
        """The masks that transformers' own `generate` makes for a compiled cache, where pictures see themselves.

        Without them the 12B's `forward` of transformers 5.23 lets the tokens of a picture see each other in global
        layers and beyond the window too, unlike its `generate`, unlike the other sizes and unlike its own comment.
        """
        if "mm_token_type_ids" not in inputs:
            return {}
        length = inputs["input_ids"].shape[1]
        made = self.model.create_masks_for_generate(
            self.model.config, torch.zeros(1, length, self.model.config.text_config.hidden_size),
            inputs["attention_mask"], cache, torch.arange(length)[None], inputs["mm_token_type_ids"])
        return {"attention_mask": made}

    def continued(self, logits: torch.Tensor, cache, length: int) -> tuple:
        """The most likely tokens without a stop, and how far each was before the second best."""
        written, margins = [], []
        while True:
            logits = logits.clone()
            logits[self.suppressed] = -float("inf")
            (best, second), (token, _) = (part.tolist() for part in logits.topk(2))
            margins.append(best - second)
            written.append(token)
            if len(written) == CONTINUED:
                return written, margins
            mask = torch.ones(1, length + len(written), dtype=torch.long)
            output = self.model(input_ids=torch.tensor([[token]]), attention_mask=mask, past_key_values=cache,
                                use_cache=True)
            logits = output.logits[0, -1]

    def save(self, path: Path) -> None:
        """Writes `path` and, beside it, all kept logits as f32 in the order of the cases."""
        data = path.with_suffix(".f32")
        data.write_bytes(np.concatenate(self.logits).astype("<f4").tobytes())
        lines = [f'  {json.dumps(name)}: {json.dumps(case)}' for name, case in self.cases.items()]
        path.write_text('{"logits": ' + json.dumps(data.name) + ', "vocabulary": ' + str(self.logits[0].shape[-1])
                        + ', "cases": {\n' + ",\n".join(lines) + "\n}}\n")
