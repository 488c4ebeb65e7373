# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The method figure says what the layers do, and nothing in it covers anything else."""

import itertools

from matplotlib.text import Text

from analysis.main_figure import ADAPTIVE_NEURONS, draw, main
from analysis.style import print_style
from models.snns import LAYERS, AdaptiveLayer


def test_the_table_has_the_terms_of_the_published_adaptive_neurons():
    terms = {name.replace("cAdLIF", "CadLIF"): marks for name, marks, _ in ADAPTIVE_NEURONS}
    assert len(terms) == len(ADAPTIVE_NEURONS) == 6
    for name, marks in terms.items():
        kind = LAYERS[name]
        assert issubclass(kind, AdaptiveLayer)
        adapts = "1" if kind.states_per_neuron == 2 else "0"
        assert marks == f"1{adapts}{adapts}{int(kind.recurrent)}"


def test_no_words_overlap_or_leave_the_page():
    with print_style():
        figure = draw()
        figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
        texts = [text for text in texts if text.axes is not None and text.axes.axison is False]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) > 50
    page = figure.bbox
    for words, box in boxes:
        assert page.x0 < box.x0 < box.x1 < page.x1, words
        assert page.y0 < box.y0 < box.y1 < page.y1, words
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        assert not first.padded(-2).overlaps(second.padded(-2)), f"{one} on {other}"


def test_it_is_written(tmp_path, capsys):
    path = tmp_path / "new" / "main_figure.pdf"
    main(["--output", str(path.parent), "--format", "pdf"])
    assert str(path) in capsys.readouterr().out
    assert path.read_bytes().startswith(b"%PDF")
    assert list(path.parent.iterdir()) == [path]
