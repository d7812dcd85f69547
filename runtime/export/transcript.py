"""A sentence as it is spoken, as it is written down, and how far two of them are apart."""

import re

SMALL = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
         "seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
VALUE = {word: value for value, word in enumerate(SMALL)} | {word: 20 + 10 * index for index, word in enumerate(TENS)}


def number_words(value: int) -> list:
    """0 to 999 in words, without "and"."""
    if value >= 100:
        return [SMALL[value // 100], "hundred"] + (number_words(value % 100) if value % 100 else [])
    if value < 20:
        return [SMALL[value]]
    return [TENS[value // 10 - 2]] + ([SMALL[value % 10]] if value % 10 else [])


def spoken(sentence: str) -> list:
    """The words that are said: lower case, numbers in words, no punctuation."""
    words = []
    for part in re.findall(r"[a-z']+|[0-9]+", sentence.lower()):
        words += number_words(int(part)) if part.isdigit() else [part.strip("'")]
    return [word for word in words if word]


def written(sentence: str) -> str:
    """What a transcription says: lower case, numbers in digits, no punctuation."""
    words, parts = spoken(sentence), []
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        if word == "hundred" and parts and parts[-1].isdigit():
            parts[-1] = str(int(parts[-1]) * 100)
        elif word in VALUE and parts and parts[-1].isdigit() and (
                before == "hundred" or before in TENS and VALUE[word] < 10):
            parts[-1] = str(int(parts[-1]) + VALUE[word])
        else:
            parts.append(str(VALUE[word]) if word in VALUE else word)
    return " ".join(parts)


def errors(heard: list, said: list) -> int:
    """The least number of words to replace, drop or add to get from one to the other."""
    row = list(range(len(said) + 1))
    for count, word in enumerate(heard, 1):
        corner, row[0] = row[0], count
        for place, other in enumerate(said, 1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (word != other))
    return row[-1]


def word_error_rate(pairs: list) -> float:
    """Percent of wrong words over `(heard, said)` pairs of word lists."""
    wrong = sum(errors(heard, said) for heard, said in pairs)
    return 100 * wrong / max(1, sum(len(said) for _, said in pairs))
