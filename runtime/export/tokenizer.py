"""Trains the small tokenizer: BPE in the form of Gemma's, with other ids and about two thousand entries."""

import json
import random
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from chat import Chat
from clips import vocabulary
from lessons import draw_lesson
from material import Material

SIZE = 2304
SPECIAL = ["<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>",
           "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>', "<|channel>", "<channel|>", "<|think|>",
           "<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>", "<audio|>", "<|video|>"]
# Strings of tool declarations and calls that may become one token.
STRUCTURE = [",parameters:{properties:{", "}},required:[", "],type:", ":{description:", "{description:", ":{enum:[",
             "declaration:", "response:", "call:", ",type:", "},", "}}", "{}", ":{"]
SPACE = "\u2581"


def pieces() -> str:
    """The pattern of pieces inside which merges may grow: structure, or a word with its space; digits stay single."""
    return "|".join(re.escape(piece) for piece in STRUCTURE) + f"|{SPACE}?[A-Za-z_]+|[\\s\\S]"


def corpus(seed: int, count: int) -> list:
    """Rendered lessons, plus every word that is ever spoken in the forms it can take."""
    rng, chat = random.Random(seed), Chat()
    material = Material(None, False, (400, 400, 40), seed)
    material.fill()
    dialogues = [draw_lesson(rng, material) for _ in range(count)]
    texts = [chat.render(d.messages, d.tools, prompt=False, thinking=d.thinking) for d in dialogues]
    special = re.compile("|".join(re.escape(token) for token in SPECIAL))
    parts = [part for text in texts for part in special.split(text) if part]
    return parts + [f"{word} {word}" for word in vocabulary()] * 20


def train(seed: int = 1) -> Tokenizer:
    """The trained tokenizer. The pre-tokeniser that kept merges inside words is replaced by Gemma's no-op."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pieces()), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=SPECIAL + bytes_, min_frequency=2,
                                  show_progress=False,
                                  initial_alphabet=[chr(code) for code in range(33, 127)] + [SPACE, "\n"])
    tokenizer.train_from_iterator(corpus(seed, 4000), trainer)
    return plain(tokenizer)


def plain(trained: Tokenizer) -> Tokenizer:
    """The same vocabulary and merges without the training aids: bytes are ordinary entries, special tokens stay."""
    import json
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = trained.normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = trained.decoder
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer
