# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Random numbers of a CPU as PyTorch draws them, several times faster.

It takes them one after another from its Mersenne Twister (MT19937, Matsumoto & Nishimura 1998): of
one word of 32 bits the last 24 are a number in [0, 1), and two words are the 53 bits of a double
that is compared with the probability of dropout. Here a block of 624 words is renewed and converted
in vector instructions, and the second word of a pair is looked at only where the first one leaves
it open. A mask is drawn by several threads, each of which jumps ahead to its own part (Haramoto et
al. 2008). Numbers and the generator's state afterwards are the same. On Intel's CPUs PyTorch draws
masks from another generator, of the MKL library, which is fast already; :func:`draws_alike` finds
out.
"""

import math
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import accumulate

import numpy as np
import torch
from llvmlite import ir
from numba import types

from models.dynamics.numba_kept import inlined, instruction, kernel
from models.dynamics.numba_support import F, arrays, compile_first, room, run_rows

WORDS, SHIFT, LOWER = 624, 397, 31  # n, m and r of the recurrence
TWIST = 0x9908B0DF
DEGREE = 32 * WORDS - LOWER
LOOKED_AT = 2 + DEGREE // WORDS  # blocks in which a jump finds the words to add up

HIGH, LOW, MIX, ONE = (np.uint32(x) for x in (0x80000000, 0x7FFFFFFF, TWIST, 1))
TEMPER_B, TEMPER_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
YES, NO = np.uint8(1), np.uint8(0)
UPPER_BITS = np.uint32((1 << 21) - 1)  # of the first word in the 53
LAST_BITS, UNIT = np.uint32((1 << 24) - 1), F(2**-24)  # of a word, and what they count

JUMP = 1 << 18  # numbers drawn in the time that a jump takes; a part has twice as many or more
WORTH_A_BLOCK = 1 << 13  # numbers, of which PyTorch draws fewer as fast
APART = 64  # words between states, so that threads do not write to the same cache line

# Where a generator's exported state keeps what is needed here, and its length in bytes.
EXPORTED = 5056
LEFT, USED, STATE = slice(8, 12), slice(16, 24), slice(24, 24 + 8 * WORDS)

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


@inlined
def twisted(word, following):
    """The linear map of the recurrence, of the upper bit of one word and the rest of the next."""
    mixed = (word & HIGH) | (following & LOW)
    return np.uint32(mixed >> ONE) ^ np.uint32((np.uint32(0) - (following & ONE)) & MIX)


@inlined
def tempered(y):
    """The random word that a word of the state stands for."""
    y = np.uint32(y ^ np.uint32(y >> np.uint32(11)))
    y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(7)) & TEMPER_B))
    y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(15)) & TEMPER_C))
    return np.uint32(y ^ np.uint32(y >> np.uint32(18)))


@kernel
def renew(old, new):
    """The next 624 words of the state."""
    for i in range(WORDS - SHIFT):
        new[i] = old[i + SHIFT] ^ twisted(old[i], old[i + 1])
    for i in range(WORDS - SHIFT, 2 * (WORDS - SHIFT)):  # parts that do not read what they write
        new[i] = new[i + SHIFT - WORDS] ^ twisted(old[i], old[i + 1])
    for i in range(2 * (WORDS - SHIFT), WORDS - 1):
        new[i] = new[i + SHIFT - WORDS] ^ twisted(old[i], old[i + 1])
    new[WORDS - 1] = new[SHIFT - 1] ^ twisted(old[WORDS - 1], new[0])


@kernel
def compare(state, place, first, upper, lower, kept):
    """Whether the 53 bits of each pair of words from ``place`` on are below those given: 21 of
    ``upper``, 32 of ``lower``. ``first`` is scratch."""
    words = state[place:]  # of other indices the compiler does not know the sign
    last = kept.size - 1  # whose second word may be missing
    for i in range(0, last - 15, 16):
        take_every_other(words, 2 * i, first, i)
    if last >= 16:
        take_every_other(words, 2 * (last - 16), first, last - 16)
    for i in range(0 if last < 16 else last, last + 1):
        first[i] = words[2 * i]
    for i in range(kept.size):
        first[i] = tempered(first[i]) & UPPER_BITS
    left_open = np.int32(0)
    for i in range(kept.size):
        kept[i] = YES if first[i] < upper else NO
        left_open = np.int32(left_open + np.int32(first[i] == upper))
    for i in range(kept.size if left_open else 0):
        if first[i] == upper:
            second = place + 2 * i + 1
            word = state[second] if second < WORDS else state[SHIFT] ^ twisted(state[0], state[1])
            kept[i] = tempered(word) < lower


@kernel
def fill(state, spare, first, place, upper, lower, kept):
    """``kept`` of pairs of words from ``place`` of the state on, which becomes that of the last
    block; returns how many words of it are used."""
    done, old, new = 0, state, spare
    while True:
        if place > WORDS or (place == WORDS and done < kept.size):
            renew(old, new)
            old, new, place = new, old, place - WORDS
        if done == kept.size:
            break
        count = min((WORDS - place + 1) // 2, kept.size - done)
        compare(old, place, first, upper, lower, kept[done : done + count])
        done, place = done + count, place + 2 * count
    for i in range(WORDS):
        state[i] = old[i]
    return place


@kernel
def draw(
    turn, end, states, bounds, places, words, terms, begins, upper, lower, kept, spare, first
):  # fmt: skip
    """Parts turn to end of ``kept``, which begin at ``bounds`` and at ``places`` of their blocks.

    The state of the first is there. That of any other is a sum of what comes after it, ``words``,
    from each of its ``terms`` on, which begin at ``begins``.
    """
    for part in range(turn, end):
        state = states[part][:WORDS]
        for i in range(begins[part], begins[part + 1], 4):
            a, b = words[terms[i] :], words[terms[i + 1] :]
            c, d = words[terms[i + 2] :], words[terms[i + 3] :]
            for k in range(WORDS):
                state[k] ^= a[k] ^ b[k] ^ c[k] ^ d[k]
        given = kept[bounds[part] : bounds[part + 1]]
        places[part] = fill(state, spare, first, places[part], upper, lower, given)


@kernel
def look_ahead(first, end, state, blocks):
    """Blocks first to end of those [N, 624] behind the state, from the first on."""
    for block in range(first, end):
        renew(blocks[block - 1] if block > 0 else state, blocks[block])


def parts_of(count: int, place: int) -> tuple[list[int], list[int], list[int]]:
    """Where parts of so many numbers begin, one for each thread, and the block and the place in it
    at which each begins, the first being at ``place``."""
    parts = max(1, min(torch.get_num_threads(), count // (2 * JUMP)))
    each = (count - JUMP) // parts  # less than of the first one, which does not jump
    bounds, blocks, places = [0], [0], [place]
    for part in range(1, parts):
        block = (place + 2 * (count - (parts - part) * each)) // WORDS
        bounds.append(-(-(WORDS * block - place) // 2))
        blocks.append(block)
        places.append(place + 2 * bounds[-1] - WORDS * block)
    return bounds, blocks, places


def state_of(generator: torch.Generator) -> tuple[torch.Tensor, np.ndarray, int]:
    """The exported state of a CPU generator, its block of words (uint64), and how many of these are
    used."""
    exported = generator.get_state()
    fields = exported.numpy()
    # Of a new generator no block is made yet.
    new = fields[LEFT].view(np.int32)[0] == 1
    used = WORDS if new else int(fields[USED].view(np.uint64)[0])
    return exported, fields[STATE].view(np.uint64), used


def set_state(
    generator: torch.Generator, exported: torch.Tensor, block: np.ndarray, used: int
) -> None:
    """Let ``generator`` go on behind so many words of another block."""
    fields = exported.numpy()
    fields[LEFT].view(np.int32)[0], fields[USED].view(np.uint64)[0] = WORDS + 1 - used, used
    fields[STATE].view(np.uint64)[:] = block
    generator.set_state(exported)


@kernel
def draw_numbers(first, end, state, place, numbers, spare):
    """Numbers in [0, 1), those of the words from ``place[0]`` of the state on; both become what is
    left behind them."""
    for _ in range(first, end):
        done, used, old, new = 0, place[0], state, spare
        while done < numbers.size:
            if used == WORDS:
                renew(old, new)
                old, new, used = new, old, 0
            count = min(WORDS - used, numbers.size - done)
            words, found = old[used : used + count], numbers[done : done + count]
            for i in range(count):
                found[i] = F(np.int32(tempered(words[i]) & LAST_BITS)) * UNIT
            done, used = done + count, used + count
        for i in range(WORDS):
            state[i] = old[i]
        place[0] = used


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """``torch.rand(shape, generator=generator)`` where :func:`numbers_alike` holds."""
    exported, stored, used = state_of(generator)
    state, place, numbers = stored.astype(np.uint32), np.array([used]), torch.empty(shape)
    given = state, place, *arrays(numbers.view(-1))
    run_rows(draw_numbers, 1, 0, *given, scratch=lambda n: (room(n, WORDS, dtype=torch.uint32),))
    set_state(generator, exported, state, int(place[0]))
    return numbers


@cache
def numbers_alike() -> bool:
    """Whether :func:`uniform` gives on this machine what PyTorch gives, tried once."""
    return _alike(
        lambda count, generator: uniform((count,), generator),
        lambda count, generator: torch.rand(count, generator=generator),
    )


def bernoulli(count: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """``count`` numbers [count] uint8, 1 with ``probability``, drawn from a CPU generator.

    What ``torch.empty(count).bernoulli_(probability, generator=generator)`` gives and does to the
    generator where :func:`draws_alike` holds.
    """
    kept = torch.empty(count, dtype=torch.uint8)
    if not count:
        return kept
    exported, stored, start = state_of(generator)
    bounds, blocks, places = parts_of(count, start)
    states = np.zeros((len(bounds), WORDS + APART), np.uint32)
    states[0, :WORDS] = stored
    words = np.zeros((LOOKED_AT + 1, WORDS), np.uint32)
    if len(bounds) > 1:
        compile_first(look_ahead, (states[0], words))
        look_ahead(0, LOOKED_AT, states[0], words)
    terms = [np.empty(0, np.int32), *(jump(WORDS * (block - 1)) for block in blocks[1:])]
    begins = np.array([*accumulate(map(len, terms), initial=0)])
    below, places = math.ceil(probability * 2.0**53), np.array(places)
    run_rows(
        draw, len(bounds), JUMP, states, np.array([*bounds, count]), places, words.ravel(),
        np.concatenate(terms), begins, np.uint32(below >> 32), np.uint32(below & 0xFFFFFFFF),
        kept.numpy(), scratch=lambda n: tuple(room(n, WORDS, dtype=torch.uint32) for _ in "ab"),
    )  # fmt: skip
    set_state(generator, exported, states[-1, :WORDS], int(places[-1]))
    return kept


@cache
def draws_alike() -> bool:
    """Whether :func:`bernoulli` gives on this machine what PyTorch gives, tried once."""
    return _alike(
        lambda count, generator: bernoulli(count, 0.3, generator).float(),
        lambda count, generator: torch.empty(count).bernoulli_(0.3, generator=generator),
    )


def _alike(ours: Callable, theirs: Callable) -> bool:
    """Whether two ways to draw so many numbers from a generator give the same, and leave it the
    same."""
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    if len(generators[0].get_state()) != EXPORTED:
        return False
    for count in (1000, 999, 2 * WORDS):
        drawn = [way(count, generators[i]) for i, way in enumerate((ours, theirs))]
        for generator in generators:
            torch.rand(3, generator=generator)  # an odd number of words
        if not torch.equal(*drawn):
            return False
    return torch.equal(*(generator.get_state() for generator in generators))
