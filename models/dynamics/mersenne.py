# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Jumps ahead in the sequence of the Mersenne Twister (Haramoto et al. 2008), and how its words are
taken."""

from functools import cache, lru_cache

import numpy as np
from llvmlite import ir
from numba import types

from models.dynamics.numba_kept import instruction

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


@instruction
def take_every_other(typing, words, begin, out, place):
    """out[place : place + 16] = words[begin : begin + 32 : 2], both uint32, in few instructions:
    those that load from many places at once take longer on some processors."""

    def code(context, builder, signature, arguments):
        def lanes(array, first, count):
            data = context.make_array(signature.args[array])(context, builder, arguments[array])
            kind = ir.VectorType(ir.IntType(32), count)
            return builder.bitcast(builder.gep(data.data, [arguments[first]]), kind.as_pointer())

        both, word = builder.load(lanes(0, 1, 32), align=4), ir.IntType(32)
        even = ir.Constant(ir.VectorType(word, 16), [ir.Constant(word, 2 * i) for i in range(16)])
        builder.store(builder.shuffle_vector(both, both, even), lanes(2, 3, 16), align=4)
        return context.get_dummy_value()

    return types.none(words, types.intp, out, types.intp), code
