# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The learning curves of a run as a picture."""

from pathlib import Path

from training.files import write_atomic


def draw_curves(history: list[dict], summary: dict, path: Path) -> None:
    """Draw loss, accuracy and firing rate over epochs from the records of metrics.jsonl."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = [record for record in history if record.get("firing_rates")]
    figure = Figure(figsize=(13 if rates else 9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3 if rates else 2)
    for split, colour in (("train", "tab:blue"), ("valid", "tab:orange")):
        records = [record for record in history if record["split"] == split]
        epochs = [record["epoch"] for record in records]
        style = {"color": colour, "label": split, "marker": "o", "markersize": 3}
        axes[0].plot(epochs, [record["loss"] for record in records], **style)
        axes[1].plot(epochs, [100 * record["accuracy"] for record in records], **style)
    test = 100 * summary["test"]["accuracy"]
    axes[1].plot(
        summary["best_epoch"], test, "*", color="tab:red", markersize=12, label=f"test {test:.2f}%"
    )
    if rates:
        draw_rates(axes[2], [record for record in rates if record["split"] == "valid"])
    for axis, title in zip(axes, ("loss", "accuracy (%)", "firing rate (%)"), strict=False):
        axis.set(xlabel="epoch", title=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(
        f"{summary['model_type']} on {summary['dataset_name']}, seed {summary['seed']}, "
        f"{summary['parameters']:,} parameters"
    )
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def draw_rates(axis, records: list[dict]) -> None:
    """Firing rate of each hidden layer on the validation split."""
    epochs = [record["epoch"] for record in records]
    for layer in range(len(records[0]["firing_rates"])):
        rates = [100 * record["firing_rates"][layer] for record in records]
        axis.plot(epochs, rates, marker="o", markersize=3, label=f"layer {layer + 1}")
