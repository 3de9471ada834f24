"""Words and their counts."""

import json
import re
from collections import Counter

_WORD = re.compile(r"[a-z']+")


def tokens(text):
    return _WORD.findall(text.lower())


def counts(text, least=1):
    return {word: count for word, count in Counter(tokens(text)).items() if count >= least}


def index(texts):
    """Which texts hold a word."""
    found = {}
    for place, text in enumerate(texts):
        for word in set(tokens(text)):
            found.setdefault(word, []).append(place)
    return found


def distance(one, two):
    before = list(range(len(two) + 1))
    for place, letter in enumerate(one, 1):
        row = [place]
        for at, other in enumerate(two, 1):
            row.append(min(row[-1] + 1, before[at] + 1, before[at - 1] + (letter != other)))
        before = row
    return before[-1]


def wrap(text, width):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def dump(table):
    return json.dumps(table, separators=(",", ":"))
