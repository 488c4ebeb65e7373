# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What was aimed at on a GPU, and what the benchmarks' files say about it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple


class Goal(NamedTuple):
    """A figure that should be at least, or at most, so much."""

    what: str
    target: float
    at_most: bool
    measured: float | None  # None: the benchmark did not get that far

    @property
    def verdict(self) -> str:
        """Whether it was reached."""
        if self.measured is None:
            return "not measured"
        reached = self.measured <= self.target if self.at_most else self.measured >= self.target
        return "reached" if reached else "missed"

    def row(self) -> list:
        """As a line of a table."""
        sign = "<=" if self.at_most else ">="
        measured = "-" if self.measured is None else f"{self.measured:.4g}"
        return [self.what, f"{sign} {self.target:g}", measured, self.verdict]


def goals(dynamics: dict | None, train: dict | None, features: dict | None) -> list[Goal]:
    """All goals, measured where the results of the three benchmarks (None: none) tell."""
    return [
        *_of_dynamics(dynamics or {}),
        *_of_training(train or {}),
        _of_features((features or {}).get("cuda", {})),
    ]


def _of_dynamics(result: dict) -> Iterator[Goal]:
    ratios, floors = {}, {}
    for comparison in result.get("neurons", []):
        compiled = [v for name, v in comparison["backends"].items() if name != "naive"]
        if compiled:
            neuron = comparison["neuron"]
            ratios[neuron] = max(values["ratio"] for values in compiled)
            floors[neuron] = min(values["x_floor"] for values in compiled)
    yield Goal("SiLIF, dynamics, times naive", 100, False, ratios.get("SiLIF"))
    yield Goal("SiLIF, dynamics, times the byte floor", 2, True, floors.get("SiLIF"))
    for neuron in ("LIF", "adLIF", "CadLIF", "ResonateFire", "CSiLIF"):
        yield Goal(f"{neuron}, dynamics, times naive", 60, False, ratios.get(neuron))
    for neuron in ("RLIF", "RadLIF"):
        yield Goal(f"{neuron}, dynamics, times naive", 8, False, ratios.get(neuron))


def _of_training(result: dict) -> Iterator[Goal]:
    rows = {case["case"]: case["rows"] for case in result.get("cases", [])}

    def figure(case: str, compute: Callable[[dict], float | None]) -> float | None:
        return compute(rows[case]) if case in rows else None

    def memory(case: dict) -> float | None:
        ours, slow = case["ours"]["peak_mib"], case["slow"]["peak_mib"]
        return None if ours is None else ours / slow

    ratio, epoch = (lambda case: case["ours"]["ratio"]), (lambda case: case["ours"]["epoch_s"])
    yield Goal("SSC 4 ms, whole step, times the slow way", 50, False, figure("SSC 4 ms", ratio))
    yield Goal("SSC 4 ms, seconds per epoch with validation", 6, True, figure("SSC 4 ms", epoch))
    yield Goal("SSC 4 ms, peak memory, share of naive's", 0.2, True, figure("SSC 4 ms", memory))
    yield Goal("GSC, whole step, times the slow way", 20, False, figure("GSC", ratio))


def _of_features(results: dict) -> Goal:
    """``results`` by what computes them: milliseconds for the same clips."""
    ours, theirs = (
        next((values["ms"] for name, values in results.items() if name.startswith(who)), None)
        for who in ("Sprache", "torchaudio")
    )
    ratio = theirs / ours if ours and theirs else None
    return Goal("features, times torchaudio clip by clip", 5, False, ratio)
