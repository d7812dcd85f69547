"""A tokenizer.json of the published size: 262,144 entries and half a million merges, made of letters in place of words.

The published vocabulary is not needed to measure a model, but reading one of its size is part of the time to load.
"""

import json
from itertools import product
from pathlib import Path

from shapes import CONTROL_IDS, VOCABULARY

LETTERS = "etaoinsrhldcumfpgwybvkxjqz"
SPACE = "\u2581"
FIRST_BYTE = 238
"""Id of the first of 256 entries for single bytes."""
MERGES = 514_000


def words():
    """Strings of letters with and without the mark of a space before them, shorter ones first."""
    for length in range(1, 6):
        for letters in product(LETTERS, repeat=length):
            word = "".join(letters)
            yield from (word, SPACE + word)


def vocabulary() -> dict:
    """Ids by token: control tokens and bytes at their published places, then characters, then words."""
    taken = {place: token for token, place in CONTROL_IDS.items()}
    taken |= {FIRST_BYTE + value: f"<0x{value:02X}>" for value in range(256)}
    taken |= {107 + extra: "\n" * (1 + extra) for extra in range(31)}
    known = set(taken.values())
    characters = [SPACE, *(chr(code) for code in range(33, 127))]
    fresh = (token for source in (characters, words()) for token in source if token not in known)
    result = {}
    for place in range(VOCABULARY):
        token = taken.get(place)
        while token is None:
            candidate = next(fresh)
            if candidate not in known:
                known.add(candidate)
                token = candidate
        result[token] = place
    return result


def merges(vocab: dict) -> list:
    """Pairs of entries that make an entry, shorter results first: of two ways to make a long one both count."""
    found = []
    for token in sorted((token for token in vocab if token not in CONTROL_IDS), key=len):
        for cut in range(1, len(token)):
            if token[:cut] in vocab and token[cut:] in vocab:
                found.append([token[:cut], token[cut:]])
    return found[:MERGES]


def write(path: Path) -> None:
    """Writes tokenizer.json in the form of the published one."""
    vocab = vocabulary()
    added = [{"id": place, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for token, place in CONTROL_IDS.items()]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                          "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab, "merges": merges(vocab)}}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n")
