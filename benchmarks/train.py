# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole training steps of the published configs, data included, on random data of the real size.

    python -m benchmarks.train [--cases NAME ...] [--scale S] [--quick] [--threads N] [--out FILE]

"slow" is `--backend naive` with a loader that bins (or transforms) each clip at every access, on a
CPU where threads and memory are as PyTorch and the C library have them; "ours" is what `python
main.py --config=...` runs. Other rows change one thing of it: "ours, naive" is plain PyTorch on our
data path; in "unfolded" batch normalisation and dropout are not part of the kernels of the neurons.
All rows of a case take turns in one run; on a CPU, turns of a third of a second or longer, each row
in its own process. The epoch is the published number of clips, trained and validated, at the
measured rates. The floor is what memory traffic and matrix products alone would take at the rates
measured on this machine. Writes FILE (JSON).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset

from benchmarks import measure
from benchmarks.measure import kept_mib, machine, milliseconds, peak_mib, synchronize
from datasets.audio_set import AudioSet
from datasets.binning import Binning
from datasets.features import NB_BINS, frame_counts, log_mel
from datasets.frames import FrameSet
from datasets.interface import Data
from parsers.load import Config, load_plan
from parsers.program import Parser, numeric, program
from training.data.loading import Streamed, batches, order_of_batches
from training.device.choice import choose_device
from training.experiment import Experiment

PROGRAM = "benchmarks.train"
SLOW, OURS = "slow", "ours"
EVENTS = 8000  # of a clip
DENSITY = {100: 0.15, 250: 0.075, 300: 0.06}  # of frames by steps, as measured on the demo
GAIN = 2.0  # of normalised currents, for the firing rate of a network that has learned
LR = 1e-6  # so that it stays there
SAMPLE_RATE = 16000
POOL = 512  # different clips; a data set repeats them
UNITS = 700
UNFOLDED = "ours, unfolded"
CLIPS_ON_CPU = 2048  # host memory holds no whole data set; a rate does not depend on the number


@dataclasses.dataclass(frozen=True)
class Case:
    """A published config and the size of its data set, and what is ``other`` than published."""

    config: str
    train: int
    valid: int
    classes: int
    other: dict = dataclasses.field(default_factory=dict)

    @property
    def is_audio(self) -> bool:
        """Whether its clips are recordings of one second."""
        return self.config.startswith("sc_")


CASES = {
    "SSC 4 ms": Case("ssc_silif_4ms", 75466, 9981, 35),
    "SSC 10 ms": Case("ssc_silif_10ms", 75466, 9981, 35),
    "SHD": Case("shd_silif", 8156, 2264, 20),
    "GSC": Case("sc_silif", 84843, 9981, 35),
    "SHD axonal": Case("shd_silif_axonal", 8156, 2264, 20),
    "RadLIF": Case("ssc_silif_10ms", 75466, 9981, 35, {"model_type": "RadLIF", "batch_size": 64}),
}
QUICK = {"batch_size": 8, "nb_steps": 20}


def published(case: Case, scale: float, changes: dict) -> Config:
    """The config with its batch scaled and ``changes`` applied."""
    config = load_plan(["--config", case.config, "--debug"]).points[0]
    batch_size = max(1, round(config.training.batch_size * scale))
    return Config.from_dict(config.to_dict() | {"batch_size": batch_size} | case.other | changes)


def random_data(case: Case, config: Config, device: torch.device) -> Data:
    """As many clips as the data set has (on a CPU, fewer), where training would keep them."""
    count = case.train if device.type == "cuda" else min(case.train, CLIPS_ON_CPU)
    make = random_recordings if case.is_audio else random_frames
    clips = make(count, config.training, device, case.classes)
    features = NB_BINS if case.is_audio else clips.counts.shape[2]
    classes = [str(label) for label in range(case.classes)]
    return Data(features, classes, "random clips", clips, clips, clips, unpublished="")


def random_frames(count: int, options, device: torch.device, classes: int) -> FrameSet:
    """Frames of a realistic density."""
    shape = (options.nb_steps, UNITS // options.spatial_bin)
    density = DENSITY.get(options.nb_steps, min(DENSITY.values()))
    counts = torch.empty((count, *shape), dtype=torch.uint8, device=device)
    for block in counts.split(256):  # random numbers need four times the room
        torch.lt(torch.rand(block.shape, device=device), density, out=block.view(torch.bool))
    labels = torch.randint(0, classes, (count,), device=device)
    return FrameSet(counts, labels, Binning.of(options).bin_seconds)


def random_recordings(count: int, options, device: torch.device, classes: int) -> AudioSet:
    """Features of clips of one second."""
    steps = int(frame_counts(SAMPLE_RATE, SAMPLE_RATE))
    return AudioSet(
        features=torch.randn(count * steps, NB_BINS, device=device),
        lengths=torch.full((count,), steps),
        labels=torch.randint(0, classes, (count,), device=device),
        files=[""] * count,
        sample_rate=SAMPLE_RATE,
    )


def our_batches(split, batch_size: int) -> Iterator[tuple]:
    """Batches of whole size in random order, epoch after epoch, as training makes them."""
    while True:
        order = order_of_batches(len(split), batch_size, shuffle=True)
        for x, y in batches(split, batch_size, order):
            if len(y) == batch_size:
                yield x, y


class EventClips(Dataset):
    """Clips of random events in the SHD layout that are binned when they are asked for."""

    def __init__(self, count: int, events: int, nb_steps: int, max_time: float, spatial_bin: int):
        rng = np.random.default_rng(0)
        self.count = count
        self.times = np.sort(rng.uniform(0, max_time, (POOL, events))).astype(np.float16)
        self.units = rng.integers(0, UNITS, (POOL, events)).astype(np.uint16)
        self.edges = np.linspace(0, max_time, nb_steps)
        self.spatial_bin = spatial_bin

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        steps = np.digitize(self.times[index % POOL].astype(np.float32), self.edges)
        kept = steps < len(self.edges)
        frames = np.zeros((len(self.edges), UNITS // self.spatial_bin), np.float32)
        channels = self.units[index % POOL][kept] // self.spatial_bin
        np.add.at(frames, (steps[kept], channels), 1.0)
        return torch.from_numpy(frames), index % 20


class WaveformClips(Dataset):
    """Recordings of noise of one second whose features are computed when they are asked for."""

    def __init__(self, count: int):
        generator = torch.Generator().manual_seed(0)
        self.count = count
        self.waves = 0.1 * torch.randn(POOL, SAMPLE_RATE, generator=generator)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return log_mel(self.waves[index % POOL][None], SAMPLE_RATE)[0], index % 20


def slow_batches(case: Case, config: Config, data: Data, device: torch.device) -> Iterator[tuple]:
    """The same without our data path: every clip is made anew, by itself, at every access."""
    options = config.training
    if case.is_audio:
        clips = WaveformClips(len(data.train))
    else:
        sizes = (options.nb_steps, options.max_time, options.spatial_bin)
        clips = EventClips(len(data.train), EVENTS, *sizes)
    workers = options.num_workers if device.type == "cuda" else 0
    loader = DataLoader(
        clips,
        options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    while True:
        for x, y in loader:
            yield x.to(device), y.to(device)


def rows_of(device: torch.device) -> dict[str, dict]:
    """The rows of a case, and the options that make them."""
    rows = {SLOW: {"backend": "naive", "cuda_graph": "off"}, OURS: {}}
    rows["ours, naive"] = {"backend": "naive"}
    if device.type == "cuda":
        rows["ours, launched"] = {"cuda_graph": "off"}
        rows[UNFOLDED] = {}
        rows["ours, streamed data"] = {"data_placement": "streamed"}
        rows["ours, tf32"] = {"precision": "tf32"}
        rows["ours, bf16"] = {"precision": "bf16"}
    return rows


class Row:
    """One way to train, ready to take steps."""

    def __init__(self, name: str, case: Case, config: Config, data: Data, device: torch.device):
        self.experiment = Experiment(config, data, None, device)
        self.features = data.nb_features
        for layer in self.experiment.model.hidden_layers:
            torch.nn.init.constant_(layer.norm.weight, GAIN)
            layer.folds = name != UNFOLDED
        epochs = config.training.nb_epochs
        self.experiment.model.set_progress(epochs, epochs)  # delays are as narrow as they become
        self.experiment.model.train()
        self.steps = self.experiment.steps
        self.meter = self.steps.empty_training_meter()
        # Plain PyTorch takes all threads.
        self.threads = nullcontext if name == SLOW else partial(self.experiment.threads, data.train)
        if name == SLOW:
            self.batches, self.tests = (slow_batches(case, config, data, device) for _ in range(2))
        else:
            self.batches, self.tests = (
                our_batches(split, config.training.batch_size) for split in (data.train, data.valid)
            )

    def train(self, count: int) -> None:
        """Take steps."""
        self.experiment.model.train()
        with self.threads():
            for _ in range(count):
                self.steps.train(*next(self.batches), self.meter)

    def evaluate(self, count: int) -> None:
        """Test on batches."""
        self.experiment.model.eval()
        meter = self.steps.new_meter()
        with self.threads():
            for _ in range(count):
                self.steps.evaluate(*next(self.tests), meter)

    def firing_rate(self) -> float:
        """Mean over the hidden units, in training."""
        self.experiment.model.train()
        with torch.no_grad():
            rates = self.experiment.model(next(self.tests)[0])[1]
        return round(rates[self.features :].mean().item(), 4)

    def memory(self, device: torch.device) -> dict:
        """MiB that a step needs: kept by the forward pass, and at most, without the data."""
        x, _ = next(self.tests)
        self.experiment.model.train()
        found = {"kept_mib": kept_mib(lambda: self.steps.forward(x)), "peak_mib": None}
        if device.type == "cuda":
            synchronize()
            torch.cuda.empty_cache()
            held = torch.cuda.memory_allocated(device) / 2**20
            peak = peak_mib(lambda: self.steps.learn(*next(self.tests), self.meter))
            found["peak_mib"] = round(peak - held, 1)
        return found


def placed(data: Data, options, device: torch.device) -> Data:
    """The data where the row wants them."""
    if options.data_placement != "streamed":
        return data
    clips = data.train.to("cpu").with_batches_on(device)
    train, others = (Streamed(clips, device) for _ in range(2))  # each is one batch ahead
    return dataclasses.replace(data, train=train, valid=others, test=others)


def compare(name: str, scale: float, device: torch.device, quick: bool, bandwidth: float) -> dict:
    """All rows of a case."""
    case = CASES[name]
    base = {"lr": LR} | (QUICK | {"nb_hiddens": 32} if quick else {})
    config = published(case, scale, base)
    data = random_data(case, config, device)
    rows = {}
    for row, options in rows_of(device).items():
        own = published(case, scale, base | options)
        if row != OURS and device.type == "cpu":
            given = row, case, own, data, device
            rows[row] = measure.Apart(Row, *given, plain=row == SLOW)
        else:
            rows[row] = Row(row, case, own, placed(data, own.training, device), device)
    # Many steps, as training takes them: the first after another row finds no data in a cache.
    per_block, rounds = (1, 3) if quick else (5, 5)
    trained = times(rows, "train", per_block, rounds)
    tested = times(rows, "evaluate", per_block, max(2, rounds // 2))
    batch, T = config.training.batch_size, next(rows[OURS].tests)[0].shape[1]
    sizes = [data.nb_features, *rows[OURS].experiment.model.layer_sizes]
    rate = measure.product_rate(batch * T, sizes[1], sizes[1], device.type)
    least = 1e3 * measure.step_floor(batch, T, sizes, bandwidth, rate)
    result = {"case": name, "config": case.config, "batch_size": batch, "steps": T, "sizes": sizes}
    result |= {"firing_rate": rows[OURS].firing_rate()}
    result |= {"floor_ms": round(least, 3), "product_gflops": round(rate / 1e9, 1), "rows": {}}
    for row, way in rows.items():
        step, test = trained[row]["ms"], tested[row]["ms"]
        result["rows"][row] = {
            "step_ms": step,
            "test_ms": test,
            "clips_per_s": round(batch / step * 1e3, 1),
            "epoch_s": round((case.train * step + case.valid * test) / batch / 1e3, 1),
            "ratio": trained[row]["ratio"],
            "share_of_floor": round(least / step, 4),
            **way.memory(device),
        }
    return result


def times(rows: dict[str, Row | measure.Apart], method: str, per_block: int, rounds: int) -> dict:
    """Milliseconds per batch of every row, taking turns; enough steps before for a CUDA graph."""
    runs = {name: getattr(row, method) for name, row in rows.items()}
    counts = dict.fromkeys(runs, per_block)
    if per_block > 1 and not torch.cuda.is_available():
        for name, run in runs.items():
            run(per_block)  # compiles
            each = milliseconds(partial(run, per_block)) / per_block
            counts[name] = max(per_block, round(measure.TURN / each))
    return measure.in_turns(runs, counts, rounds, warm_up=1 if per_block == 1 else 2)


def print_case(result: dict) -> None:
    """A table of one case."""
    sizes = "-".join(map(str, result["sizes"]))
    print(
        f"\n{result['case']}: {sizes}, batch {result['batch_size']}, {result['steps']} steps, "
        f"firing rate {result['firing_rate']:.1%}, floor {result['floor_ms']:g} ms"
    )
    titles = ["", "step ms", "test ms", "clips/s", "epoch s", "x slow", "of floor"]
    titles += ["kept MiB", "peak MiB"]
    rows = [[name, *values.values()] for name, values in result["rows"].items()]
    print(tabulate(rows, titles), flush=True)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument(
        "--scale",
        type=numeric(float, 1e-3, 1e3),
        help="of batch sizes; by default 1, on a CPU 1/8",
    )
    measure.add_common(parser)
    options = parser.parse_args(argv)
    device = choose_device(0)
    file = measure.set_up(options, "train", device.type)
    scale = options.scale or (1.0 if device.type == "cuda" else 0.125)
    bandwidth = measure.copy_bandwidth(device.type)
    result = {"benchmark": "train", "machine": machine(), "scale": scale}
    result |= {"copy_gb_per_s": round(bandwidth / 1e9, 1), "cases": []}
    for name in options.cases:
        result["cases"].append(compare(name, scale, device, options.quick, bandwidth))
        print_case(result["cases"][-1])
        measure.write(file, result)
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
