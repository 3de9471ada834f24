import random

import words

random.seed(0)
VOCABULARY = ["".join(random.choices("abcdefghij", k=random.randint(2, 9))) for _ in range(800)]
TEXT = " ".join(random.choices(VOCABULARY, k=6000))


def test_tokens(benchmark):
    assert len(benchmark(words.tokens, TEXT)) == 6000


def test_counts(benchmark):
    assert sum(benchmark(words.counts, TEXT).values()) == 6000


def test_index(benchmark):
    texts = [TEXT[k : k + 400] for k in range(0, 20_000, 400)]
    assert max(map(max, benchmark(words.index, texts).values())) == 49


def test_distance(benchmark):
    assert benchmark(words.distance, TEXT[:80], TEXT[40:120]) > 0


def test_wrap(benchmark):
    assert max(map(len, benchmark(words.wrap, TEXT, 72))) <= 72


def test_dump(benchmark):
    table = {word: list(range(20)) for word in VOCABULARY}
    assert benchmark(words.dump, table).startswith("{")
