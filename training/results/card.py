# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The model card of a run: README.md in its folder, in the layout of Hugging Face model cards."""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from datasets.files import readable
from datasets.registry import DATASETS
from parsers.load import OPTIONS, Config
from parsers.training_config import SPIKES
from training.data import same_data
from training.errors import ExperimentError
from training.metrics import protocol, wilson
from training.record import files
from training.results.gather import GatheredRun
from training.results.groups import data_name, model_name
from training.terminal.console import duration, percent

NAME = "README.md"
UNKNOWN = "unknown"
MARK = re.compile(r"\n<!-- card of the run as it was written: sha256 ([0-9a-f]{64}) -->\n\Z")
LICENCES = {  # of the published data
    "demo": "CC0 1.0, shipped with the code",
    "shd": "CC BY 4.0 (Cramer et al. 2020)",
    "ssc": "CC BY 4.0 (Cramer et al. 2020, after Warden 2018)",
    "sc": "CC BY 4.0 (Warden 2018)",
    "hd": "CC BY 4.0 (Cramer et al. 2020)",
}
ALWAYS_TOLD = {"model_type", "nb_layers", "nb_hiddens", "batch_size", "nb_epochs", "lr", "seed"}
PLACES = {name for name in OPTIONS if name.endswith("folder")}
LIMITS = """\
The network knows its classes and nothing else: silence, noise and any other word are taken for one
of them, and a probability near 1 does not rule that out. It was tested on clips like those of its
training; other microphones, rooms, languages and ages of speakers may go much worse.
"""
LOAD = """\
With Sprache, a PyTorch framework for spiking networks:

    python -m analysis.predict {name} RECORDINGS ...        # words, probabilities, timelines
    python main.py {name} --evaluate_pretrained True        # its accuracy, on the data named above

The folder `{name}`, its archive `{name}.zip`, or the address of the archive followed by `#sha256=`
and its SHA-256 can be named. In Python:

```python
from analysis.listening import open_listener

listener = open_listener("{name}")  # .model, .classes, .rate, .input_of(recording), .answer(x)
```
"""


def write_card(run: GatheredRun, licence: str, *, overwrite: bool) -> str:
    """Write the card of a finished run; a line on what was done.

    Raises ExperimentError for an unfinished run, and for a card that was changed by hand unless it
    is to be overwritten.
    """
    if run.trouble is not None:
        raise ExperimentError(f"{run.folder}: no card, as the run is not whole ({run.trouble})")
    path = run.folder / NAME
    before = _read(path)
    by_hand = before is not None and not _is_ours(before)
    if by_hand and not overwrite:
        raise ExperimentError(
            f"{path} was written or changed by hand; --overwrite replaces it by a new card"
        )
    text = readable(card(run, licence))
    digest = hashlib.sha256(text.encode()).hexdigest()
    with files.writing_to(run.folder, "a copy of the run"):
        mark = f"\n<!-- card of the run as it was written: sha256 {digest} -->\n"
        files.write_text(path, text + mark)
    done = "replaced what was there, changed by hand" if by_hand else "written"
    return f"{path}: {done}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExperimentError(f"cannot read {path} ({error.strerror})") from None


def _is_ours(text: str) -> bool:
    """Whether a card is as `write_card` left it."""
    mark = MARK.search(text)
    return mark is not None and mark[1] == hashlib.sha256(text[: mark.start()].encode()).hexdigest()


def card(run: GatheredRun, licence: str = UNKNOWN) -> str:
    """The card as Markdown, with its front matter."""
    values, summary = run.values, run.summary
    model = model_name(values["model_type"])
    title = f"{model} on {data_name({**summary, 'values': values})}"
    parts = [
        f"---\n{yaml.safe_dump(front_matter(run, title, licence), sort_keys=False)}---",
        f"# {title}, seed {values['seed']}",
        f"A {values['nb_layers']}-layer {model} network that takes the recording of a word for one "
        "of the classes below.",
        f"## Data\n\n{table(data_rows(run))}",
        f"## Protocol\n\n{protocol_text(summary)}",
        f"## Figures\n\n{table(figure_rows(summary))}",
        f"## How to load it\n\n{LOAD.format(name=run.folder.resolve().name)}",
        f"## Training\n\n{table(option_rows(values))}\n\n{circumstances(summary)}",
        f"## Limits\n\n{LIMITS}",
        f"## Licence\n\n{licence_text(values, summary, licence)}",
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def front_matter(run: GatheredRun, title: str, licence: str) -> dict[str, Any]:
    """What machines read of a card."""
    values, accuracy = run.values, run.summary["test"]["accuracy"]
    kind = ["spiking-neural-network"] * ("firing_rates" in run.summary["test"])
    dataset = {"name": data_name({**run.summary, "values": values}), "type": values["dataset_name"]}
    metric = {"type": "accuracy", "name": "test accuracy", "value": round(accuracy, 6)}
    task = {"type": "audio-classification", "name": "spoken words"}
    results = [{"task": task, "dataset": dataset, "metrics": [metric]}]
    return {
        "license": licence,
        "library_name": "pytorch",
        "pipeline_tag": "audio-classification",
        "tags": [*kind, "keyword-spotting", values["model_type"], "sprache"],
        "metrics": ["accuracy"],
        "model-index": [{"name": title, "results": results}],
    }


def table(rows: list[tuple[str, Any]]) -> str:
    """Rows of a name and a value as Markdown."""
    lines = [f"| {name} | {str(value).replace('|', '/')} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def data_rows(run: GatheredRun) -> list[tuple[str, Any]]:
    """What the network was trained on, and what it hears."""
    values, summary, record = run.values, run.summary, same_data.recorded(run.folder)
    training = Config.from_dict(values).training
    dataset = DATASETS[values["dataset_name"]]
    step = f"{dataset.step_ms(training):g} ms"
    clips = ", ".join(f"{count:,} {name}" for name, count in summary.get("clips", {}).items())
    name = data_name({**summary, "values": values})
    if not is_published(values, summary) and name == dataset.title:
        name = f"data of one's own, in the layout of {name}"
    rows = [("data", name), *([("clips", clips)] if clips else [])]
    if record is not None:
        rows.append((f"{len(record['classes'])} classes", ", ".join(record["classes"])))
    else:
        rows.append(("classes", "the run does not say their names"))
    if SPIKES.are_met(values):
        features = dataset.nb_features(same_data.as_recorded(record, training))
        seconds = f"the first {values['max_time']:g} s of a clip"
        rows.append(("input", f"spike counts of {features} channels every {step}, {seconds}"))
    else:
        rows.append(("input", f"{dataset.nb_features(training)} log-mel bands every {step}"))
        if record and record.get("sample_rate"):
            rows.append(("sampling rate", f"{record['sample_rate']:,} Hz; others are resampled"))
    sums = summary.get("data_checksums") or {}
    return rows + [(f"SHA-256 of {name}", f"`{digest}`") for name, digest in sums.items()]


def protocol_text(summary: dict) -> str:
    """What the figures were taken on."""
    chosen = summary["validated_on"]
    return (
        f"{protocol(chosen).capitalize()}. The weights are those of epoch {summary['best_epoch']} "
        f"of {summary['epochs']}, the best by validation accuracy on: {chosen}. The test split was "
        f"used {'to choose it as well' if 'test split' in chosen else 'once, after that'}."
    )


def figure_rows(summary: dict) -> list[tuple[str, Any]]:
    """The figures of a run."""
    test, valid = summary["test"], summary["valid"]
    interval = ""
    if "samples" in test:  # else of an earlier version
        low, high = wilson(test["accuracy"], test["samples"])
        interval = f"95% interval {100 * low:.1f} to {100 * high:.1f}%, {test['samples']:,} clips"
        interval = f" ({interval})"
    rows = [("test accuracy", f"{percent(test['accuracy'])}{interval}")]
    if several := summary.get("test_seeds"):
        spread = several["accuracy"]
        text = f"{percent(spread['mean'])} ± {percent(spread['std'])}"
        rows.append((f"over {len(several['seeds'])} draws of initial states", text))
    rows += [
        ("test loss", f"{test['loss']:.4f}"),
        ("validation accuracy", percent(valid["accuracy"])),
        ("trainable parameters", f"{summary['parameters']:,}"),
    ]
    if summary.get("state_variables"):
        rows.append(("state variables", f"{summary['state_variables']:,}"))
    for layer, rate in enumerate(test.get("firing_rates", ()), start=1):
        rows.append((f"firing rate, layer {layer}", f"{percent(rate)} per time step"))
    operations = {"sop": "synaptic operations", "mac": "multiply-accumulates"}
    for name, text in operations.items():
        if test.get(name):
            rows.append((f"{text} per clip", f"{test[name]:,.0f}"))
    return rows


def option_rows(values: dict) -> list[tuple[str, Any]]:
    """The options that say what was trained, where they are not the defaults; no folders."""
    return [
        (f"`{name}`", values[name])
        for name, option in OPTIONS.items()
        if name in ALWAYS_TOLD
        or (option.rules.compared and name not in PLACES and values[name] != option.default)
    ]


def circumstances(summary: dict) -> str:
    """How long it took, on what, by which code."""
    lines = [f"It took {duration(summary['seconds'])}."]
    if found := summary.get("versions"):
        named = (f"{name} {found[name]}" for name in ("torch", "numpy", "numba") if name in found)
        lines.append(f"Versions: Python {found['python']}, {', '.join(named)}.")
    if code := summary.get("code"):
        changed = ", with changes" if code["dirty"] else ""
        lines.append(f"Code: commit {code['commit'][:12]}{changed}.")
    return " ".join(lines)


def is_published(values: dict, summary: dict) -> bool:
    """Whether a run has as many clips as the published data set."""
    if (clips := summary.get("clips")) is None:
        return False
    valid = 0 if "test split" in summary["validated_on"] else clips["valid"]
    found = clips["train"] + valid + clips["test"]
    return found == sum(DATASETS[values["dataset_name"]].clips.values())


def licence_text(values: dict, summary: dict, licence: str) -> str:
    """Of the weights, the data and the code."""
    weights = f"The weights: {licence}."
    if licence == UNKNOWN:
        weights = "The weights: not stated; ask whoever shares them."
    data = "The data: that of whoever recorded them."
    if is_published(values, summary):
        data = f"The data: {LICENCES[values['dataset_name']]}."
    return f"{weights} {data} The code (Sprache): MIT."
