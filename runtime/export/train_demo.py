"""Trains the text part of the demo model on synthetic smart-home talk; the towers stay as they were drawn.

Usage: python train_demo.py CHECKPOINT_FOLDER [--minutes 30] [--threads 1]
The data, the weights and the order of batches follow from SEED and the number of steps; only the number of
steps depends on the time given, unless --steps fixes it.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import tokenizer as demo_tokenizer
from chat import Chat, expand_media, model_part
from dialogues import tool_request, training_dialogue
from media import feature_pools
from model import build
from skills import SKILLS

SEED = 20261121
BATCH = 8
PEAK_RATE = 3e-3
POOL = 8
"""Batches drawn at once and sorted by length, so that little is padded."""


class Examples:
    """An endless, seeded stream of batches of rendered conversations."""

    def __init__(self, tokens, features: dict, seed: int) -> None:
        self.tokens, self.features = tokens, features
        self.token_id = tokens.get_vocab()
        self.rng, self.chat = random.Random(seed), Chat()
        self.sizes = {kind: len(pool) for kind, pool in features.items()}

    def example(self) -> tuple:
        """Token ids, the mask of the model's part, and the features of its placeholders in order."""
        dialogue = training_dialogue(self.rng, self.sizes)
        media = [self.features[kind][index] for kind, index in dialogue.media]
        text = self.chat.render(dialogue.messages, dialogue.tools, prompt=False, thinking=dialogue.thinking)
        counts = [(kind, len(rows)) for (kind, _), rows in zip(dialogue.media, media)]
        ids = self.tokens.encode(expand_media(text, counts), add_special_tokens=False).ids
        return ids, model_part(ids, self.token_id), media

    def batches(self):
        """Batches as dictionaries of tensors, without end."""
        while True:
            examples = sorted((self.example() for _ in range(BATCH * POOL)), key=lambda example: len(example[0]))
            starts = list(range(0, len(examples), BATCH))
            self.rng.shuffle(starts)
            for start in starts:
                yield self.collate(examples[start:start + BATCH])

    def collate(self, examples: list) -> dict:
        """`ids` [rows, longest]; `asked` [rows, most] are positions whose next token the model writes, else -1."""
        longest = max(len(ids) for ids, _, _ in examples)
        asked = [[i - 1 for i, mine in enumerate(mask) if mine] for _, mask, _ in examples]
        most = max(len(positions) for positions in asked)
        pad = self.token_id["<pad>"]
        return {"ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _, _ in examples]),
                "asked": torch.tensor([positions + [-1] * (most - len(positions)) for positions in asked]),
                "features": [rows for _, _, media in examples for rows in media]}


class Trainee:
    """The text model with a forward pass that computes the KV-shared upper layers only where a loss is asked."""

    def __init__(self, model, token_id: dict) -> None:
        self.text, self.config = model.model.language_model, model.config.text_config
        self.placeholders = torch.tensor([token_id["<|image|>"], token_id["<|audio|>"]])

    def embed(self, ids: torch.Tensor, features: list) -> tuple:
        """Input embeddings with media rows filled in, and the per-layer inputs."""
        media = torch.isin(ids, self.placeholders)
        plain = ids.masked_fill(media, self.config.pad_token_id)
        embeds = self.text.embed_tokens(plain)
        if features:
            embeds = embeds.masked_scatter(media.unsqueeze(-1), torch.cat(features))
        per_layer = self.text.get_per_layer_inputs(plain)
        return embeds, self.text.project_per_layer_inputs(embeds, per_layer)

    def masks(self, length: int) -> dict:
        """Visibility [1, 1, length, length]; padding is at the end, so causality hides it."""
        row = torch.arange(length)
        causal = row[None, :] <= row[:, None]
        window = row[:, None] - row[None, :] < self.config.sliding_window
        return {"full_attention": causal[None, None], "sliding_attention": (causal & window)[None, None]}

    def logits(self, ids: torch.Tensor, asked: torch.Tensor, features: list) -> torch.Tensor:
        """Logits [rows, most, vocabulary] at the asked positions (position 0 stands in for none)."""
        rows, length = ids.shape
        hidden, per_layer = self.embed(ids, features)
        masks, shared = self.masks(length), {}
        positions = torch.arange(length)[None]
        turns = {kind: self.text.rotary_emb(hidden, positions, kind) for kind in masks}
        at = asked.clamp(min=0)
        pick = lambda tensor: torch.take_along_dim(tensor, at.view(rows, -1, *[1] * (tensor.ndim - 2)), 1)
        for index, layer in enumerate(self.text.layers):
            if index == self.text.first_kv_shared_layer_idx:
                hidden, per_layer = pick(hidden), pick(per_layer)
                turns = {kind: tuple(part[0][at] for part in pair) for kind, pair in turns.items()}
                masks = {kind: mask[0, 0][at][:, None] for kind, mask in masks.items()}
            kind = self.config.layer_types[index]
            hidden = layer(hidden, per_layer[:, :, index], shared_kv_states=shared, position_embeddings=turns[kind],
                           attention_mask=masks[kind])
        logits = F.linear(self.text.norm(hidden), self.text.embed_tokens.weight)
        cap = self.config.final_logit_softcapping
        return torch.tanh(logits / cap) * cap

    def loss(self, batch: dict) -> torch.Tensor:
        """Mean cross-entropy of the model's own tokens."""
        logits = self.logits(batch["ids"], batch["asked"], batch["features"])
        target = torch.gather(batch["ids"], 1, batch["asked"].clamp(min=0) + 1).masked_fill(batch["asked"] < 0, -100)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def optimiser(text) -> torch.optim.Optimizer:
    """AdamW; norms and tables without decay."""
    tables = ("norm", "embed_tokens")
    decayed = [p for name, p in text.named_parameters() if not any(part in name for part in tables)]
    free = [p for name, p in text.named_parameters() if any(part in name for part in tables)]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)


def rate(done: float, step: int) -> float:
    """Share of the peak rate after the share `done` of the training: a short rise, then a cosine to 2 %."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(model, tokens, features: dict, minutes: float, steps: int | None, folder: Path) -> int:
    """Runs for `steps` steps, or as many as fit into `minutes`. Returns the number of steps."""
    examples = Examples(tokens, features, SEED)
    trainee = Trainee(model, examples.token_id)
    optimise = optimiser(trainee.text)
    start, running, step = time.monotonic(), None, 0
    for batch in examples.batches():
        elapsed = time.monotonic() - start
        done = step / steps if steps else elapsed / (60 * minutes)
        if done >= 1:
            return step
        for group in optimise.param_groups:
            group["lr"] = PEAK_RATE * rate(done, step)
        loss = trainee.loss(batch)
        optimise.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainee.text.parameters(), 1.0)
        optimise.step()
        step += 1
        running = loss.item() if running is None else 0.97 * running + 0.03 * loss.item()
        if step % 50 == 0:
            print(f"step {step} {elapsed:.0f} s loss {running:.4f}", flush=True)
        if step % 400 == 0:
            save(model, folder, step)


def save(model, folder: Path, step: int) -> None:
    """Writes the checkpoint with the number of steps that made it."""
    model.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps({"seed": SEED, "steps": step, "batch": BATCH}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    tokens = demo_tokenizer.train()
    tokens.save(str(options.folder / "tokenizer.json"))
    model = build(tokens.get_vocab(), SEED)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count:,} parameters, {len(tokens.get_vocab())} tokens", flush=True)
    rng = random.Random(SEED)
    features = feature_pools(model, [tool_request(rng.choice(list(SKILLS)), rng).text for _ in range(28)], SEED)
    model.model.language_model.set_attn_implementation("sdpa")
    model.requires_grad_(False)
    model.model.language_model.requires_grad_(True)
    model.train()
    steps = train(model, tokens, features, options.minutes, options.steps, options.folder)
    save(model, options.folder, steps)
    print(f"{steps} steps", flush=True)


if __name__ == "__main__":
    main()
