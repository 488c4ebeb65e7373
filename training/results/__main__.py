# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""One table over many runs; see ``python -m training.results --help``."""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import csv
import io
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

from scipy import stats

from datasets.splits import some
from parsers.load import OPTIONS
from parsers.options import near
from parsers.program import Parser, check_file, program
from training.errors import ExperimentError
from training.record import files
from training.record.curves import draw_bands
from training.results.card import UNKNOWN, write_card
from training.results.gather import (
    NOT_BEGUN,
    GatheredRun,
    comparable,
    gather,
    history,
    mark_repeated_seeds,
)
from training.results.groups import (
    are_other_data,
    group_over_seeds,
    grouped,
    legend,
    model_name,
    options_in_words,
    protocol_name,
    result_table,
    spread,
    text_table,
)

PROGRAM = "training.results"
CONFIDENCE = 0.95
LEGEND_WIDTH = 60  # characters in a line of the curves' legend
FORMATS = {"markdown": (".md",), "latex": (".tex",), "csv": (".csv",)}
PICTURES = (".png", ".pdf", ".svg")
STDOUT = "-"
DESCRIPTION = (
    "Gather runs into one table of mean ± sample standard deviation over seeds. Runs that differ "
    "in anything but their seed are different rows. A run that is unfinished, diverged or damaged "
    "is named below the table and counted in no mean."
)
EXAMPLES = """\
examples:
  python -m training.results exp/test_exps
  python -m training.results exp/test_exps --markdown results.md --curves curves.png
  python -m training.results lr_scan --csv > lr_scan.csv
  python -m training.results exp/test_exps --compare SiLIF LIF
  python -m training.results MY_RUN --card --licence cc-by-4.0
"""


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; ConfigError or ExperimentError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        usage=f"python -m {PROGRAM} FOLDER ... [options]",
        description=textwrap.fill(DESCRIPTION, width=100),
        epilog=EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),
    )
    add, text = parser.add_argument, "folder of a run or a sweep, or any above them"
    add("folders", nargs="+", type=Path, metavar="FOLDER", help=text)
    text = "write the table in this format, to a file or to standard output"
    for name in FORMATS:
        add(f"--{name}", nargs="?", const=STDOUT, metavar="FILE", help=text)
    text = "draw learning curves with a band over seeds (.png, .pdf or .svg)"
    add("--curves", metavar="FILE", help=text)
    text = "Welch's t-test between two rows: their numbers, models or option=value,..."
    add("--compare", nargs=2, metavar=("A", "B"), help=text)
    text = "options whose values do not make rows of their own"
    add("--ignore", nargs="+", default=[], metavar="OPTION", help=text)
    text = "write the model card of every run instead: README.md in its folder"
    add("--card", action="store_true", help=text)
    add("--licence", "--license", default=UNKNOWN, help="of the weights, for --card, such as mit")
    add("--overwrite", action="store_true", help="replace files that exist")
    arguments = parser.parse_args(argv)
    for name, suffixes in (*FORMATS.items(), ("curves", PICTURES)):
        check_target(name, getattr(arguments, name), suffixes, arguments.overwrite)
    for name in arguments.ignore:
        if name not in OPTIONS:
            raise ExperimentError(f"--ignore {name}: no option of main.py{near(name, OPTIONS)}")
    return arguments


def check_target(name: str, target: str | None, suffixes: tuple, overwrite: bool) -> None:
    """ConfigError or ExperimentError if a file cannot be written as asked."""
    if target in (None, STDOUT):
        return
    path = Path(target)
    check_file(f"--{name}, after the folders of runs", path)
    if path.suffix.lower() not in suffixes:
        raise ExperimentError(f"--{name} {target}: the file must end in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise ExperimentError(f"--{name} {target} exists; --overwrite replaces it")


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Do what the command line asks for."""
    arguments = read_arguments(argv)
    found = gather(arguments.folders)
    if arguments.card:
        for run in found:
            print(write_card(run, arguments.licence, overwrite=arguments.overwrite))
        return
    readable = [run for run in found if run.values and run.trouble != NOT_BEGUN]
    axes = comparable(readable, arguments.ignore)
    mark_repeated_seeds(readable, axes)
    results = [run.result() for run in readable]
    groups = group_over_seeds(results, axes)
    to_stdout = [name for name in FORMATS if getattr(arguments, name) == STDOUT]
    if not to_stdout and groups:
        print(result_table(groups, numbered=len(groups) > 1))
    for name in FORMATS:
        if (target := getattr(arguments, name)) == STDOUT:
            sys.stdout.write(formatted(name, groups))
        elif target is not None:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            files.write_text(Path(target), formatted(name, groups))
    for note in notes_on(found):
        print(note, file=sys.stderr if to_stdout else sys.stdout)
    if arguments.compare:
        rows = [find_group(groups, text) for text in arguments.compare]
        names = tuple(label(groups, row) for row in rows)
        test = welch(*(groups[row] for row in rows), names)
        print(f"\n{test}", file=sys.stderr if to_stdout else sys.stdout)
    if arguments.curves:
        draw(groups, grouped(results, axes), Path(arguments.curves))


def formatted(name: str, groups: list[dict]) -> str:
    """The table as Markdown, LaTeX (with the package booktabs) or CSV."""
    if name == "csv":
        return as_csv(groups)
    text = text_table(groups, kind="github" if name == "markdown" else "latex_booktabs")
    if name == "latex":
        comments = "".join(f"% {line}\n" for line in legend(groups))
        return (comments + text + "\n").replace("±", r"$\pm$")
    return text + "\n\n" + "  \n".join(legend(groups)) + "\n"


def as_csv(groups: list[dict]) -> str:
    """Every figure of every group in full, one row each, with all options that differ."""
    differing = [
        name
        for name in (groups[0]["values"] if groups else ())
        if len({group["values"][name] for group in groups}) > 1
    ]
    rows = []
    for group in groups:
        row = {**group["setup"], **{name: group["values"][name] for name in differing}}
        row |= {"parameters": group["parameters"], "state_variables": group["state_variables"]}
        for figure in ("test_accuracy", "valid_accuracy", "test_loss", "sop", "mac"):
            statistic = group[figure] or {"mean": None, "std": None}
            row |= {f"{figure}_mean": statistic["mean"], f"{figure}_std": statistic["std"]}
        best = group["best_epochs"]
        row |= {
            "runs_counted": group["runs"].split()[0],
            "runs": len(group["seeds"]),
            "seeds": " ".join(map(str, group["seeds"])),
            "best_epoch_mean": sum(best) / len(best) if best else None,
            "seconds_mean": group["seconds"],
            "validated_on": group["validated_on"],
            "protocol": group["protocol"],
        }
        rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else ["dataset_name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def notes_on(runs: list[GatheredRun]) -> list[str]:
    """What a reader must know besides the table, in lines."""
    told = [run for run in runs if run.trouble not in (None, NOT_BEGUN)]
    notes = [f"not counted: {run.folder}: {run.trouble}" for run in told]
    if idle := [str(run.folder) for run in runs if run.trouble == NOT_BEGUN]:
        notes.append(f"left out, as {NOT_BEGUN}: {some(idle)}")
    commits = {
        run.summary["code"]["commit"]
        for run in runs
        if run.trouble is None and run.summary.get("code")
    }
    if len(commits) > 1:
        short = ", ".join(sorted(commit[:10] for commit in commits))
        notes.append(f"the runs were made by {len(commits)} versions of the code: {short}")
    return notes


def label(groups: list[dict], row: int) -> str:
    """What distinguishes a group from the others, in words."""
    parts = []  # data, model, size, resolution and protocol of each, as the table has them
    for group in groups:
        setup = group["setup"]
        model, size = model_name(setup["model_type"]), f"{setup['nb_hiddens']} hidden"
        of_group = [group["data"], model, size, f"{setup['ms_per_step']:g} ms"]
        parts.append([*of_group, protocol_name(group)])
    kept = [part for part, *others in zip(parts[row], *parts, strict=True) if len({*others}) > 1]
    options = options_in_words(groups, groups[row])
    return ", ".join(filter(None, [*kept, options])) or parts[row][1]


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


def same(value: Any, text: str) -> bool:
    """Whether a value is what ``text`` says, numbers by their size."""
    try:
        return float(value) == float(text)
    except (TypeError, ValueError):
        return str(value).lower() == text.lower()


def welch(first: dict, second: dict, names: tuple[str, str]) -> str:
    """Welch's t-test (Welch 1947) of the test accuracies of two groups, as several lines of text.

    It says whether the groups differ by more than their seeds do. Raises ExperimentError where
    no test can be made.
    """
    samples = []
    for group, name in zip((first, second), names, strict=True):
        values = (group["test_accuracy"] or {"values": []})["values"]
        if len(values) < 2:
            raise ExperimentError(
                f"--compare: the test needs two seeds at least; finished runs of {name}: "
                f"{len(values)}"
            )
        samples.append([100 * value for value in values])
    if first["setup"]["dataset_name"] != second["setup"]["dataset_name"]:
        raise ExperimentError("--compare: the two groups are tested on different data sets")
    is_axis = "data_folder" in first["values"]  # not with --ignore
    if is_axis and are_other_data(first["tested_on"], second["tested_on"]):
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
            *unlike_protocols(first, second),
        ]
    )


def unlike_protocols(first: dict, second: dict) -> list[str]:
    """A line if the epochs of two groups were not chosen in the same way."""
    protocols = [group["protocol"] or "unknown" for group in (first, second)]
    return [f"  the protocols differ: {' / '.join(protocols)}"] if len({*protocols}) > 1 else []


def draw(groups: list[dict], runs: list[list[dict]], path: Path) -> None:
    """Learning curves of the ``runs`` of every group that has finished ones.

    Raises ExperimentError if none has.
    """
    drawn = []
    for row, group in enumerate(groups):
        folders = [Path(run["folder"]) for run in runs[row] if "error" not in run]
        histories = [records for folder in folders if (records := history(folder))]
        if histories:
            accuracy = group["test_accuracy"]["mean"]
            name = f"{label(groups, row)} ({len(histories)} seeds, test {100 * accuracy:.2f} %)"
            name = name.replace("(1 seeds", "(1 seed")
            drawn.append((textwrap.fill(name, LEGEND_WIDTH), histories))
    if not drawn:
        raise ExperimentError("--curves: no finished run has a metrics.jsonl to draw")
    draw_bands(drawn, path)
    print(f"learning curves: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
