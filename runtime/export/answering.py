"""The decoder while it learns: lessons in batches, the loss on the model's own tokens, and how its words begin."""

import random

import torch
import torch.nn.functional as F

from chat import Chat, expand_media, model_part
from clips import vocabulary
from lessons import TASKS, draw_lesson
from material import Material
from seeing import KINDS, TRAITS

POOL = 8
"""Batches drawn at once and sorted by length, so that little is padded."""
RENEWED = 1
"""Pieces of material that are renewed with each batch."""
KINDRED_NOISE = 0.3


class Lessons:
    """Lessons as tensors."""

    def __init__(self, tokens, material: Material, batch: int) -> None:
        self.tokens, self.material, self.batch = tokens, material, batch
        self.token_id, self.chat = tokens.get_vocab(), Chat()

    def example(self, rng: random.Random, task: str | None = None) -> tuple:
        """Token ids, the mask of the model's part, and `(kind, rows)` of the placeholders in order."""
        lesson = draw_lesson(rng, self.material, task)
        text = self.chat.render(lesson.messages, lesson.tools, prompt=False, thinking=lesson.thinking)
        count = lambda kind, rows: [len(part) for part in rows] if kind == "video" else len(rows)
        counts = [(kind, count(kind, rows)) for kind, rows in lesson.media]
        ids = self.tokens.encode(expand_media(text, counts), add_special_tokens=False).ids
        media = [(kind, torch.cat(rows) if kind == "video" else rows) for kind, rows in lesson.media]
        return ids, model_part(ids, self.token_id), media

    def batches(self, step: int):
        """Batches without end; after a stop they are others."""
        rng = random.Random(f"{step} lessons")
        self.material.rng.seed(f"{step} material")
        self.material.fill(0.15)
        while True:
            examples = [self.example(rng) for _ in range(self.batch * POOL)]
            examples.sort(key=lambda example: len(example[0]))
            starts = list(range(0, len(examples), self.batch))
            rng.shuffle(starts)
            for start in starts:
                for _ in range(RENEWED):
                    self.material.renew()
                yield self.collate(examples[start:start + self.batch])

    def collate(self, examples: list) -> dict:
        """`ids` [rows, longest]; `asked` [rows, most] are positions whose next token the model writes, else -1."""
        longest = max(len(ids) for ids, _, _ in examples)
        asked = [[i - 1 for i, mine in enumerate(mask) if mine] for _, mask, _ in examples]
        most = max(len(positions) for positions in asked)
        pad = self.token_id["<pad>"]
        return {"ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _, _ in examples]),
                "asked": torch.tensor([positions + [-1] * (most - len(positions)) for positions in asked]),
                "media": [medium for _, _, media in examples for medium in media]}


class Answering(torch.nn.Module):
    """The text model and the projections of both towers; KV-shared layers are computed only where a loss is asked."""

    def __init__(self, model, token_id: dict) -> None:
        super().__init__()
        self.text, self.config = model.model.language_model, model.config.text_config
        self.audio = model.model.embed_audio.embedding_projection
        self.image = model.model.embed_vision.embedding_projection
        self.placeholders = torch.tensor([token_id[f"<|{kind}|>"] for kind in ("image", "audio", "video")])

    def embed(self, ids: torch.Tensor, media: list) -> tuple:
        """Input embeddings with media rows filled in, and the per-layer inputs."""
        at = torch.isin(ids, self.placeholders)
        plain = ids.masked_fill(at, self.config.pad_token_id)
        embeds = self.text.embed_tokens(plain)
        if media:
            rows = [(self.audio if kind == "audio" else self.image)(rows) for kind, rows in media]
            embeds = embeds.masked_scatter(at.unsqueeze(-1), torch.cat(rows))
        per_layer = self.text.get_per_layer_inputs(plain)
        return embeds, self.text.project_per_layer_inputs(embeds, per_layer)

    def masks(self, length: int) -> dict:
        """Visibility [1, 1, length, length]; padding is at the end, so causality hides it."""
        row = torch.arange(length)
        causal = row[None, :] <= row[:, None]
        window = row[:, None] - row[None, :] < self.config.sliding_window
        return {"full_attention": causal[None, None], "sliding_attention": (causal & window)[None, None]}

    def logits(self, ids: torch.Tensor, asked: torch.Tensor, media: list) -> torch.Tensor:
        """Logits [rows, most, vocabulary] at the asked positions (position 0 stands in for none)."""
        rows, length = ids.shape
        hidden, per_layer = self.embed(ids, media)
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

    def targets(self, batch: dict) -> torch.Tensor:
        """The tokens that should follow the asked positions, -100 where none is asked."""
        return torch.gather(batch["ids"], 1, batch["asked"].clamp(min=0) + 1).masked_fill(batch["asked"] < 0, -100)

    def loss(self, batch: dict) -> tuple:
        """Mean cross-entropy of the model's own tokens."""
        logits = self.logits(batch["ids"], batch["asked"], batch["media"])
        loss = F.cross_entropy(logits.flatten(0, 1), self.targets(batch).flatten())
        return loss, {"loss": loss.item()}

    def exact(self, batch: dict) -> list:
        """For each conversation whether the likeliest token is right everywhere: then greedy writes just that."""
        logits, targets = self.logits(batch["ids"], batch["asked"], batch["media"]), self.targets(batch)
        return ((logits.argmax(-1) == targets) | (targets == -100)).all(-1).tolist()


class HeldOutLessons:
    """Lessons of each task that training never sees: other sentences, other voices, other drawings."""

    def __init__(self, lessons: Lessons, count: int, seed: int) -> None:
        rng = random.Random(seed)
        lessons.material.fill()
        batches = lambda task: [lessons.collate([lessons.example(rng, task)]) for _ in range(count)]
        self.batches = {task: batches(task) for task in TASKS if task != "dialogue"}

    def measure(self, answering: Answering) -> dict:
        """Percent of conversations that are right in every token, by task."""
        share = lambda hits: round(100 * sum(hits) / len(hits), 1)
        return {task: share([answering.exact(batch)[0] for batch in batches]) for task, batches in self.batches.items()}


@torch.no_grad()
def make_kindred(answering: Answering, senses, token_id: dict) -> None:
    """Lets the decoder begin with one space for words that are read, heard and seen.

    The embedding of a word's token starts as what the audio tower says for that word, and the vision tower's projection
    so that a thing looks like its name; otherwise thousands of steps go by before the decoder listens at all.
    """
    table, spread = answering.text.embed_tokens.weight, answering.config.hidden_size ** 0.5
    torch.nn.init.orthogonal_(answering.audio.weight)
    heard = senses.hearing.words.weight[1:]
    heard = F.normalize(F.normalize(heard - heard.mean(0), dim=-1) @ answering.audio.weight.t(), dim=-1)
    for word, row in zip(vocabulary(), heard):
        for form in (word, word.capitalize(), f"\u2581{word}", f"\u2581{word.capitalize()}"):
            if form in token_id:
                noise = torch.randn(len(row)) * KINDRED_NOISE / spread
                table[token_id[form]] = F.normalize(row + noise, dim=-1)
    names = [(head.weight[index], token_id.get(f"\u2581{name}")) for head, classes in
             ((senses.seeing.kinds, KINDS), (senses.seeing.traits, TRAITS)) for index, name in enumerate(classes)]
    pairs = [(F.normalize(row, dim=-1) * len(row) ** 0.5, table[token] * spread)
             for row, token in names if token is not None]
    seen, wanted = (torch.stack(part) for part in zip(*pairs))
    found = torch.linalg.lstsq(seen, wanted, driver="gelsd").solution.t()
    answering.image.weight.copy_(found + 0.3 * torch.randn_like(found))
