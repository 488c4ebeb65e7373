# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Jumps ahead in the sequence of the Mersenne Twister (Haramoto et al. 2008)."""

from functools import cache, lru_cache

import numpy as np

WORDS, SHIFT, LOWER = 624, 397, 31  # n, m and r of the recurrence
TWIST = 0x9908B0DF
DEGREE = 32 * WORDS - LOWER
LOOKED_AT = 2 + DEGREE // WORDS  # blocks in which a jump finds the words to add up

# Polynomials over GF(2) are whole numbers whose bits are the coefficients. Every word of the
# sequence behind the first is the sum of words before it that the characteristic polynomial names;
# the word n places ahead, of those that the remainder of t**n names.


@cache
def characteristic() -> tuple[int, ...]:
    """The exponents of the characteristic polynomial (Matsumoto & Nishimura 1998, appendix A)."""

    def times(a: int, n: int, m: int) -> int:
        return (a << n) ^ (a << m)

    def power(x: int, y: int) -> int:
        found = 1
        for _ in range(x):
            found = times(found, WORDS, SHIFT)
        for _ in range(y):
            found = times(found, WORDS - 1, SHIFT - 1)
        return found

    upper = 32 - LOWER
    polynomial = power(upper, LOWER)
    for i in range(32):
        if TWIST >> i & 1:
            polynomial ^= power(upper, LOWER - 1 - i) if i < LOWER else power(31 - i, 0)
    return tuple(i for i in range(DEGREE + 1) if polynomial >> i & 1)


def remainder(polynomial: int) -> int:
    """That of a division by the characteristic polynomial."""
    *lower, _ = characteristic()
    while high := polynomial >> DEGREE:
        polynomial &= (1 << DEGREE) - 1
        for exponent in lower:
            polynomial ^= high << exponent
    return polynomial


@lru_cache(64)
def jump(distance: int) -> np.ndarray:
    """Which of the words behind a place add up to the one ``distance`` words ahead (int32): fours,
    the last of which may point behind all words, where there are zeros."""
    found = 1
    for bit in f"{distance:b}":
        square = int("0".join(f"{found:b}"), 2)
        found = remainder(square << int(bit))
    terms = [i for i, bit in enumerate(f"{found:b}"[::-1]) if bit == "1"]
    return np.array(terms + [LOOKED_AT * WORDS] * (-len(terms) % 4), np.int32)
