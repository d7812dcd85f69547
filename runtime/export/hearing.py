"""The audio tower while it learns: it names each word behind its end, the one before it, and half-way up each sound."""

import random
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from clips import Clip, Ear, draw_clip, vocabulary
from transcript import spoken, word_error_rate

SILENCE = 0
"""The class of "nothing ends here", for words and for sounds."""
SOUNDS_MAX = 96
SOUND_WEIGHT = 0.3
BEFORE_WEIGHT = 0.3
SILENCE_WEIGHT = 0.3
SPAN = 2
"""Soft tokens for which a word is named, so that the place need not be hit exactly."""
FRAMES_PER_TOKEN = 4


@cache
def word_class() -> dict:
    """Class of each word of the vocabulary."""
    return {word: index + 1 for index, word in enumerate(vocabulary())}


def sound_class(name: str) -> int:
    """Class of a phoneme's name, by a fixed hash: a few of them share one."""
    total = sum(ord(letter) * 31 ** place for place, letter in enumerate(name))
    return 1 + total % (SOUNDS_MAX - 1) if name else SILENCE


def quick_subsampling(projection):
    """The forward pass of the tower's first part with channels last; its first layer is not trained.

    Nine numbers in, 128 random sums out: its gradients would be the dearest part of a step, for little to be learnt.
    """
    first, second = projection.layer0, projection.layer1

    def forward(features, mask=None):
        with torch.no_grad():
            cut = F.pad(features * mask[..., None], (1, 1, 1, 1)).unfold(1, 3, 2).unfold(2, 3, 2)
            hidden = cut.reshape(*cut.shape[:3], 9) @ first.conv.weight.view(-1, 9).t()
            hidden = F.layer_norm(hidden, hidden.shape[-1:], first.norm.weight, eps=first.norm.eps).relu_()
            mask = mask[:, ::2]
            hidden = hidden.mul_(mask[:, :, None, None]).permute(0, 3, 1, 2)
        hidden = second.conv(hidden).permute(0, 2, 3, 1)
        hidden = F.relu(F.layer_norm(hidden, hidden.shape[-1:], second.norm.weight, eps=second.norm.eps))
        return projection.input_proj_linear(hidden.reshape(*hidden.shape[:2], -1)), mask[:, ::2]

    return forward


def unclipped(tower) -> None:
    """Switches the clip bounds off: while training nothing is clipped."""
    for module in tower.modules():
        if isinstance(module, Gemma4ClippableLinear):
            module.use_clipped_linears = False


class Hearing(torch.nn.Module):
    """Tower and the heads that only training needs.

    Where a word is named, the word before it is told as well: so the decoder, having written one word, finds the next.
    """

    def __init__(self, tower) -> None:
        super().__init__()
        self.tower = tower
        dims, hidden = tower.config.output_proj_dims, tower.config.hidden_size
        self.words = torch.nn.Linear(dims, 1 + len(vocabulary()))
        self.before = torch.nn.Linear(dims, dims, bias=False)
        self.sounds = torch.nn.Linear(hidden, SOUNDS_MAX)
        unclipped(tower)
        tower.subsample_conv_projection.layer0.requires_grad_(False)
        tower.subsample_conv_projection.forward = quick_subsampling(tower.subsample_conv_projection)
        self.halfway = None
        tower.layers[len(tower.layers) // 2 - 1].register_forward_hook(self.keep)

    def keep(self, _module, _inputs, output) -> None:
        self.halfway = output

    def features(self, frames: torch.Tensor, mask: torch.Tensor) -> tuple:
        """What the tower gives [clips, tokens, dims], brought to unit size as the embedder does it, and the mask."""
        output = self.tower(frames, mask)
        heard = output.last_hidden_state
        return heard * torch.rsqrt(heard.pow(2).mean(-1, keepdim=True) + 1e-6), output.attention_mask

    def loss(self, batch: dict) -> tuple:
        """Cross-entropy of all heads at each soft token."""
        heard, _ = self.features(batch["frames"], batch["mask"])
        weight = torch.ones(self.words.out_features)
        weight[SILENCE] = SILENCE_WEIGHT
        words = F.cross_entropy(self.words(heard).flatten(0, 1), batch["words"].flatten(), weight)
        before = F.cross_entropy(self.words(self.before(heard)).flatten(0, 1), batch["before"].flatten())
        sounds = F.cross_entropy(self.sounds(self.halfway).flatten(0, 1), batch["sounds"].flatten())
        total = words + BEFORE_WEIGHT * before + SOUND_WEIGHT * sounds
        return total, {"words": words.item(), "before": before.item(), "sounds": sounds.item()}

    def hear(self, batch: dict) -> list:
        """The words of each clip: the likeliest class at each place, repetitions as one."""
        heard, mask = self.features(batch["frames"], batch["mask"])
        names = vocabulary()
        named = self.words(heard).argmax(-1).masked_fill(~mask, SILENCE).tolist()
        changes = [[now for now, before in zip(row, [SILENCE, *row]) if now not in (before, SILENCE)] for row in named]
        return [[names[kind - 1] for kind in row] for row in changes]


def labels(clip: Clip, tokens: int) -> tuple:
    """Classes of words, of the words before them (-100 where no word is named) and of sounds for each soft token."""
    words, before, sounds = np.zeros(tokens, np.int64), np.full(tokens, -100), np.zeros(tokens, np.int64)
    classes = [word_class()[word] for _, word in clip.words]
    for (place, _), named, last in reversed(list(zip(clip.words, classes, [SILENCE, *classes]))):
        words[place:place + SPAN], before[place:place + SPAN] = named, last
    for place, name in clip.sounds:
        sounds[place:] = sound_class(name)
    return words, before, sounds


def masked(frames: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Frames without a band of pitches and a moment, so that no single cue is leaned on."""
    frames = frames.copy()
    band, width = noise.integers(0, 128), noise.integers(0, 16)
    frames[:, band:band + width] = frames.mean()
    moment, length = noise.integers(0, len(frames)), noise.integers(0, 8)
    frames[moment:moment + length] = frames.mean()
    return frames


class Clips:
    """A pool of recorded clips that is renewed step by step, each heard a few times."""

    def __init__(self, seed: int, size: int, batch: int, fresh: int) -> None:
        self.rng, self.noise = random.Random(seed), np.random.default_rng(seed)
        self.size, self.batch, self.fresh = size, batch, fresh
        self.ear, self.pool = Ear(), []

    def prepared(self, clip: Clip) -> tuple:
        frames = self.ear.frames(clip.samples)
        return frames.astype(np.float16), *labels(clip, -(-len(frames) // FRAMES_PER_TOKEN))

    def batches(self, step: int):
        """Batches without end; after a stop the pool is another one."""
        self.rng, self.noise = random.Random(f"{step} clips"), np.random.default_rng(step)
        while True:
            for _ in range(self.fresh if len(self.pool) >= 4 * self.batch else 4 * self.batch):
                item = self.prepared(draw_clip(self.rng, held_out=False))
                if len(self.pool) < self.size:
                    self.pool.append(item)
                else:
                    self.pool[self.rng.randrange(self.size)] = item
            yield self.collate([(masked(frames.astype(np.float32), self.noise), *rest)
                                for frames, *rest in self.drawn()])

    def drawn(self) -> list:
        """Clips of about one length: neighbours of a random one among many."""
        few = sorted(self.rng.sample(self.pool, 4 * self.batch), key=lambda item: len(item[0]))
        start = self.rng.randrange(len(few) - self.batch + 1)
        return few[start:start + self.batch]

    def collate(self, items: list) -> dict:
        """`frames` [clips, frames, 128], `mask` [clips, frames], labels [clips, tokens] with -100 behind the end."""
        tokens = max(len(words) for _, words, *_ in items)
        long = FRAMES_PER_TOKEN * tokens
        pad = lambda row: np.pad(row, (0, tokens - len(row)), constant_values=-100)
        stack = lambda rows: torch.from_numpy(np.stack([pad(row) for row in rows]))
        frames, words, before, sounds = zip(*items)
        filled_up = [np.pad(one, ((0, long - len(one)), (0, 0))) for one in frames]
        return {"frames": torch.from_numpy(np.stack(filled_up)).float(),
                "mask": torch.tensor([[True] * len(one) + [False] * (long - len(one)) for one in frames]),
                "words": stack(words), "before": stack(before), "sounds": stack(sounds)}


class HeldOutClips:
    """Clips in voices and of sentences that training never hears."""

    def __init__(self, count: int, seed: int) -> None:
        rng, clips = random.Random(seed), Clips(0, 0, 1, 0)
        self.clips = [draw_clip(rng, held_out=True) for _ in range(count)]
        self.batches = [clips.collate([clips.prepared(clip)]) for clip in self.clips]

    def measure(self, hearing: Hearing) -> dict:
        """Word error rate of the tower alone, and the share of sentences without an error."""
        heard = [hearing.hear(batch)[0] for batch in self.batches]
        pairs = [(words, spoken(clip.sentence)) for words, clip in zip(heard, self.clips)]
        whole = sum(words == said for words, said in pairs)
        return {"word error rate": round(word_error_rate(pairs), 2),
                "whole sentences": round(100 * whole / len(pairs), 1)}
