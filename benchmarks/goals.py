# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What was aimed at on a GPU, and what the benchmarks' files say about it."""

from typing import NamedTuple

FEED_FORWARD = ("LIF", "adLIF", "CadLIF", "ResonateFire", "CSiLIF")
RECURRENT = ("RLIF", "RadLIF")


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
    ratios, floors = {}, {}
    for comparison in (dynamics or {}).get("neurons", []):
        compiled = [v for name, v in comparison["backends"].items() if name != "naive"]
        if compiled:
            ratios[comparison["neuron"]] = max(values["ratio"] for values in compiled)
            floors[comparison["neuron"]] = min(values["x_floor"] for values in compiled)
    cases = {case["case"]: case["rows"] for case in (train or {}).get("cases", [])}
    ours = {name: rows["ours"] for name, rows in cases.items()}
    ssc, gsc = ours.get("SSC 4 ms", {}), ours.get("GSC", {})
    peak = ssc.get("peak_mib") and ssc["peak_mib"] / cases["SSC 4 ms"]["slow"]["peak_mib"]
    clips = {name.split()[0]: v["ms"] for name, v in (features or {}).get("cuda", {}).items()}
    torchaudio = clips.get("torchaudio,")
    least = {"SiLIF": 100, **dict.fromkeys(FEED_FORWARD, 60), **dict.fromkeys(RECURRENT, 8)}
    return [
        *(Goal(f"{n}, dynamics, times naive", g, False, ratios.get(n)) for n, g in least.items()),
        Goal("SiLIF, dynamics, times the byte floor", 2, True, floors.get("SiLIF")),
        Goal("SSC 4 ms, whole step, times the slow way", 50, False, ssc.get("ratio")),
        Goal("SSC 4 ms, seconds per epoch with validation", 6, True, ssc.get("epoch_s")),
        Goal("SSC 4 ms, peak memory, share of naive's", 0.2, True, peak),
        Goal("GSC, whole step, times the slow way", 20, False, gsc.get("ratio")),
        Goal(
            "features, times torchaudio clip by clip",
            5,
            False,
            torchaudio and torchaudio / clips["Sprache,"],
        ),
    ]
