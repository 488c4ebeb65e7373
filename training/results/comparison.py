# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether two groups of runs differ by more than their seeds do."""

import warnings

from scipy import stats

from training.errors import ExperimentError
from training.results.groups import are_other_data, model_name, spread

CONFIDENCE = 0.95


def find_group(groups: list[dict], text: str) -> int:
    """The index of the group that ``text`` means.

    It is a row of the table, from 1; a model, 'SiLIF'; or options, 'model_type=LIF,lr=0.01'.
    Raises ExperimentError unless exactly one group is meant.
    """
    if text.isdigit() and 1 <= int(text) <= len(groups):
        return int(text) - 1
    parts = [part.strip() for part in text.split(",")]
    found = [i for i, group in enumerate(groups) if all(holds(group, part) for part in parts)]
    if len(found) != 1:
        rows = f"rows {', '.join(str(i + 1) for i in found)}" if found else "no row"
        raise ExperimentError(
            f"--compare {text} means {rows} of the table; give a row from 1 to {len(groups)}, or "
            "options that hold for one row only, such as model_type=LIF,lr=0.01"
        )
    return found[0]


def holds(group: dict, part: str) -> bool:
    """Whether 'name=value', or the name of a model, is true of a group."""
    name, is_pair, value = part.partition("=")
    values = group["values"]
    if is_pair:
        return same(values.get(name.strip(), group["setup"].get(name.strip())), value.strip())
    model = values["model_type"]
    return part.lower() in {model.lower(), model_name(model).lower()}


def same(value: object, text: str) -> bool:
    """Whether a value is what ``text`` says, numbers by their size."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value).lower() == text.lower()


def welch(first: dict, second: dict, names: tuple[str, str]) -> str:
    """Welch's t-test (Welch 1947) of the test accuracies of two groups, in lines.

    Raises ExperimentError where no test can be made.
    """
    samples = []
    for group, name in zip((first, second), names, strict=True):
        values = (group["test_accuracy"] or {"values": []})["values"]
        if len(values) < 2:
            runs = "run" if len(values) == 1 else "runs"
            raise ExperimentError(
                f"--compare: {name} has {len(values)} finished {runs}, and the test needs two "
                "seeds at least"
            )
        samples.append([100 * value for value in values])
    if first["setup"]["dataset_name"] != second["setup"]["dataset_name"]:
        raise ExperimentError("--compare: the two groups are tested on different data sets")
    told_apart = "data_folder" in first["values"]  # not with --ignore
    if told_apart and are_other_data(first["tested_on"], second["tested_on"]):
        raise ExperimentError(
            "--compare: the two groups are tested on different data, by their checksums; if that "
            "is intended, add --ignore data_folder"
        )
    if all(len(set(sample)) == 1 for sample in samples):
        raise ExperimentError("--compare: neither group varies over its seeds, so there is no test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nearly equal values: the figures show it
        test = stats.ttest_ind(*samples, equal_var=False)
        low, high = test.confidence_interval(CONFIDENCE)
    difference = sum(samples[0]) / len(samples[0]) - sum(samples[1]) / len(samples[1])
    return "\n".join(
        [
            f"Welch's t-test of the test accuracy, {names[0]} against {names[1]}:",
            *(
                f"  {name}: {spread(group['test_accuracy'])} % over {len(sample)} seeds"
                for name, group, sample in zip(names, (first, second), samples, strict=True)
            ),
            f"  difference {difference:+.2f} points, {CONFIDENCE:.0%} confidence interval "
            f"[{low:+.2f}, {high:+.2f}]",
            f"  t = {test.statistic:.3f}, {test.df:.1f} degrees of freedom, "
            f"p = {test.pvalue:.3g} (two-sided)",
        ]
    )
