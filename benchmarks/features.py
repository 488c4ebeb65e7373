# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Time of the filterbank on batches of one-second clips, against one call per clip.

    python -m benchmarks.features [--quick] [--threads N] [--out FILE]

Ours takes a batch; the published loader calls ``torchaudio.compliance.kaldi.fbank`` clip by clip,
and so does this with kaldi-native-fbank, which is C++, where they are installed. Everything is
timed alternately within one run, on the GPU as well if there is one, and the features by ours are
compared with those by torchaudio. Writes FILE (JSON).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable

import torch
from tabulate import tabulate

from benchmarks.measure import add_common, interleaved, machine, set_up, write
from datasets.features import NB_BINS, log_mel, torchaudio_fbank
from parsers.program import Parser, program

PROGRAM = "benchmarks.features"
RATE = 16000


def load_fbank() -> Callable | None:
    """``torchaudio.compliance.kaldi.fbank``, or None where torchaudio is not installed.

    It is plain Python: where torchaudio does not import, it is loaded without the rest.
    """
    if (fbank := torchaudio_fbank()) is not None:
        return fbank
    try:
        files = importlib.metadata.files("torchaudio") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    (source,) = (file.locate() for file in files if file.match("compliance/kaldi.py"))
    spec = importlib.util.spec_from_file_location("torchaudio_compliance_kaldi", source)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules["torchaudio"]
        else:
            sys.modules["torchaudio"] = before
    return module.fbank


def kaldi_fbank(wave, rate: int):
    """[frames, 40] of one clip, a list or array of samples in -1..1, by kaldi-native-fbank."""
    import kaldi_native_fbank
    import numpy as np

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0.0
    options.energy_floor = 0.0
    options.mel_opts.num_bins = 40
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(rate, wave)
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def runs(clips: int, device: str) -> dict[str, Callable[[], object]]:
    """By name, a function that computes the features of ``clips`` clips; the slow way first."""
    torch.manual_seed(0)
    waves = (0.1 * torch.randn(clips, RATE)).to(device)
    per_clip, fbank = {}, load_fbank()
    if fbank is not None:
        per_clip["torchaudio, per clip"] = lambda: [
            fbank(wave[None], num_mel_bins=NB_BINS, sample_frequency=RATE) for wave in waves
        ]
    if device == "cpu" and importlib.util.find_spec("kaldi_native_fbank"):
        lists = [wave.tolist() for wave in waves]
        per_clip["kaldi-native-fbank, per clip"] = lambda: [kaldi_fbank(w, RATE) for w in lists]
    return per_clip | {"Sprache, batch": lambda: log_mel(waves, RATE)}


def largest_difference(found: dict[str, Callable]) -> float | None:
    """The largest difference between features by ours and by torchaudio; None without it."""
    if "torchaudio, per clip" not in found:
        return None
    theirs = torch.stack(found["torchaudio, per clip"]())
    return float((found["Sprache, batch"]() - theirs).abs().max())


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    add_common(parser)
    options = parser.parse_args(argv)
    clips, rounds = (8, 2) if options.quick else (128, 9)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    file = set_up(options, "features", devices[-1])
    result = {"benchmark": "features", "clips": clips, "machine": machine()}
    rows, differences = [], {}
    for device in devices:
        found = runs(clips, device)
        result[device] = interleaved(found, rounds)
        differences[device] = largest_difference(found)
        rows += [[device, name, *values.values()] for name, values in result[device].items()]
    print(tabulate(rows, ["device", "features of 1 s clips", "ms", "best ms", "speed, first = 1"]))
    for device, difference in differences.items():
        if difference is not None:
            print(f"{device}: features differ from torchaudio's by {difference:.1e} at most")
    write(file, result | {"largest_difference": differences})
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
