"""Changes of inputs, by a seed: what stands in for a fuzzer where there is none, and in every run of the tests.

Blind, unlike the fuzzer: it cannot tell whether a change reached anything new. So it works on the corpus that the
fuzzer found.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

#: Where parsers count: ends of ranges, and what looks like a length.
NUMBERS = (b"0", b"-1", b"1", b"255", b"65536", b"2147483648", b"9223372036854775808", b"1e309", b"9" * 40)
LENGTH_MAX = 16_384


def changed(data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: Random) -> bytes:
    """One to four changes of `data`. `others`: inputs of the same target, of which parts are taken."""
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        data = _once(data, others, words, chance)[:LENGTH_MAX]
    return data


def _once(data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((0, 1, 2, 4, 8, 16, 64)))
    before, cut, after = data[:start], data[start:end], data[end:]
    match chance.randrange(8):
        case 0:  # cut out
            return before + after
        case 1:  # end early
            return before
        case 2:  # a word of the format
            return before + chance.choice((*words, *NUMBERS)) + after
        case 3:  # a number of the input's bytes
            return before + chance.randbytes(len(cut) or 1) + after
        case 4:  # again
            return before + cut * chance.choice((2, 3, 50)) + after
        case 5:  # one bit
            return before + bytes([cut[0] ^ (1 << chance.randrange(8))]) + cut[1:] + after if cut else before + after
        case 6:  # what another input has there
            other = chance.choice(others)
            return before + other[start : start + chance.randrange(1, 64)] + after
        case _:  # nested deep
            pair = chance.choice((b"[]", b"{}", b"()", b'{"a":'))
            return before + pair[:-1] * chance.choice((10, 200, 2000)) + after
