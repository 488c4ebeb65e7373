# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Predictions as tables, as CSV and JSON, and as the picture of a long recording."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields

import numpy as np
from matplotlib.figure import Figure

from analysis.predict.clips import Prediction, TestClips
from analysis.predict.windows import LEVEL_SECONDS, Search, Windows
from analysis.style import FAINT, INK, LOOKS, new_figure
from datasets.files import UNDECODED
from training.metrics import wilson
from training.terminal.console import interval_in_words, percent, table

MOST_ROWS = 40  # of a table on the terminal; files have all
WORST_PAIRS = 10
MATRIX = 12  # classes of a confusion matrix that fits a terminal
MOST_LINES = 6  # words of a picture that have a colour of their own
UNKNOWN = "-"


def clip_table(clips: Sequence[Prediction]) -> str:
    """What clips were taken for, in a table; of many, the first ones."""
    labelled = any(clip.label is not None for clip in clips)
    headers = ["clip", *(["class"] if labelled else []), "word", "probability", "runner-up"]
    headers += ["probability", "decided (s)"]
    rows = []
    for clip in clips[:MOST_ROWS]:
        mark = "" if clip.label is None or clip.is_right else " !"
        truth = [clip.label or UNKNOWN] if labelled else []
        decided = UNKNOWN if clip.decided is None else f"{clip.decided:.2f}"
        best = clip.word + mark, f"{clip.probability:.3f}"
        runner_up = clip.runner_up, f"{clip.runner_up_probability:.3f}"
        rows.append((clip.clip, *truth, *best, *runner_up, decided))
    text = table(rows, headers, numbers=1)
    if len(clips) > MOST_ROWS:
        text += (
            f"\n... and {len(clips) - MOST_ROWS:,} more clips: --csv FILE or --json FILE has all"
        )
    return text


def accuracy_lines(clips: Sequence[Prediction], test: TestClips) -> list[str]:
    """How many clips of known classes are right, and how those of the run's own test came out."""
    known = [clip for clip in clips if clip.label is not None]
    if not known:
        return []
    right = sum(clip.is_right for clip in known)
    share = {"accuracy": right / len(known), "samples": len(known)}
    some = "" if len(known) == len(clips) else f" whose class is known, of {len(clips):,}"
    lines = [
        f"accuracy {percent(right / len(known))} {interval_in_words(**share)}: {right:,} of "
        f"{len(known):,} clips{some}"
    ]
    own = test.own
    tested = [clip for clip in known if clip.clip in own]
    if tested:  # all of them
        right = sum(clip.is_right for clip in tested)
        then = sum(own[clip.clip] == clip.label for clip in tested)
        same = sum(own[clip.clip] == clip.word for clip in tested)
        lines.append(
            f"the {len(tested):,} test clips of the run: {percent(right / len(tested))} right, "
            f"{percent(then / len(tested))} in its own test; {same:,} are taken for the same word"
        )
    return lines


def confusion(clips: Sequence[Prediction], classes: Sequence[str]) -> np.ndarray:
    """Clips [C, C] by true class (rows) and by the word that they are taken for (columns)."""
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    places = {name: place for place, name in enumerate(classes)}
    for clip in clips:
        if clip.label in places:
            counts[places[clip.label], places[clip.word]] += 1
    return counts


def confusion_table(clips: Sequence[Prediction], classes: Sequence[str]) -> str:
    """The confusion matrix of the classes that occur, or of many the most frequent mistakes."""
    known = [clip for clip in clips if clip.label is not None]
    heard = [name for name in classes if any(name in (clip.label, clip.word) for clip in known)]
    counts = confusion(known, heard)
    if len(heard) <= MATRIX:
        rows = [
            (name, *(count or "." for count in row))
            for name, row in zip(heard, counts.tolist(), strict=True)
        ]
        return table(rows, ["class \\ word", *heard], numbers=len(heard), fit=False)
    totals = Counter(clip.label for clip in known)
    wrong = Counter((clip.label, clip.word) for clip in known if not clip.is_right)
    rows = [
        (*pair, count, percent(count / totals[pair[0]], 1))
        for pair, count in wrong.most_common(WORST_PAIRS)
    ]
    return table(rows, ["class", "taken for", "clips", "of the class"], numbers=2) if rows else ""


def as_csv(clips: Sequence[Prediction]) -> str:
    """One row for each clip, or for each word of a long recording."""
    text = io.StringIO()
    names = [field.name for field in fields(Prediction)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(clip) for clip in clips)
    return text.getvalue().translate(UNDECODED)


def as_json(
    run: str,
    classes: Sequence[str],
    clips: Sequence[Prediction],
    searches: dict[str, tuple[Windows, Search]],
) -> dict:
    """All there is, in plain values."""
    content = {"run": run, "classes": list(classes), "clips": [asdict(clip) for clip in clips]}
    known = [clip for clip in clips if clip.label is not None]
    if known:
        right = sum(clip.is_right for clip in known)
        content["accuracy"] = {
            "clips": len(known),
            "right": right,
            "accuracy": right / len(known),
            "interval": wilson(right / len(known), len(known)),
        }
        content["confusion"] = confusion(known, classes).tolist()
    content["recordings"] = [
        {
            "clip": name,
            **asdict(how),
            "words": [asdict(word) for word in found.words],
            "windows": [asdict(window) for window in found.windows],
        }
        for name, (how, found) in searches.items()
    ]
    return content


def json_text(content: dict) -> str:
    """The same as the text of a file in UTF-8, in which words can be read."""
    return json.dumps(content, indent=2, ensure_ascii=False).translate(UNDECODED) + "\n"


def word_lines(name: str, how: Windows, found: Search) -> str:
    """The words of a long recording, one a line."""
    duration = found.windows[-1].end
    title = (
        f"{name}: {len(found.words)} words in {duration:.1f} s, by windows of {how.seconds:g} s "
        f"every {how.hop:g} s"
    )
    rows = [
        (f"{word.start:.2f}", f"{word.end:.2f}", word.word, f"{word.probability:.3f}")
        for word in found.words
    ]
    if not rows:
        return f"{title}: nothing reaches the probability {how.threshold:g}"
    return f"{title}\n{table(rows, ['start', 'end', 'word', 'probability'])}"


def timeline(name: str, classes: Sequence[str], how: Windows, found: Search) -> Figure:
    """The level of a recording with the words found in it, and the probabilities over time."""
    duration = found.windows[-1].end
    figure = new_figure(min(max(6.5, 0.35 * duration), 40), 4.0)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    times = (np.arange(len(found.level)) + 0.5) * LEVEL_SECONDS
    top.fill_between(times, found.level.min(), found.level, color=FAINT, linewidth=0)
    top.set_ylabel("level (dB)")
    top.set_title(name, loc="left")
    ceiling = found.level.max()
    counts = Counter(word.word for word in found.words)
    shown = [word for word, _ in counts.most_common(MOST_LINES)]
    colours = dict(zip(shown, (look[0] for look in LOOKS.values()), strict=False))
    for number, word in enumerate(found.words):
        colour = colours.get(word.word, INK)
        top.axvspan(word.start, word.end, color=colour, alpha=0.25, linewidth=0)
        middle, height = (word.start + word.end) / 2, ceiling + 3 + 6 * (number % 2)
        top.text(middle, height, word.word, color=colour, ha="center", va="bottom", fontsize=7)
    top.set_ylim(found.level.min(), ceiling + 14)
    centres = np.array(found.starts) + how.seconds / 2
    for place, word in enumerate(classes):
        colour, width = (colours[word], 1.4) if word in colours else (FAINT, 0.4)
        label = word if word in colours else None
        order = 2 if label else 1
        chances = found.probabilities[:, place]
        below.plot(centres, chances, color=colour, linewidth=width, label=label, zorder=order)
    below.axhline(how.threshold, color=INK, linewidth=0.6, linestyle=":")
    below.set_ylim(0, 1.02)
    below.set_xlim(0, duration)
    below.set_ylabel("probability")
    below.set_xlabel("time (s), of the middle of a window")
    if shown:
        below.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
