# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that define data, optimisation, and how a run is carried out."""

# ruff: noqa: RUF009  (option() returns a dataclass field, which is what the rule asks for)

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from parsers.model_config import SPIKING
from parsers.options import Needs, option

# The names of all data sets, each of them a line in datasets/registry.py.
SPIKING_DATASETS = ("shd", "ssc", "demo")
AUDIO_DATASETS = ("hd", "sc")
WITHOUT_VALIDATION = ("shd", "demo")  # spiking data sets with no validation files of their own
SPIKES = Needs("dataset_name", SPIKING_DATASETS, "spiking data (shd, ssc, demo)")
AUDIO = Needs("dataset_name", AUDIO_DATASETS, "audio (sc, hd)")
UNVALIDATED = Needs(
    "dataset_name", WITHOUT_VALIDATION, "data sets without a fixed validation set, shd and demo"
)
AUGMENTED = Needs("use_augm", (True,))
REGULARISED = Needs("use_regularizers", (True,))
BATCHNORM = Needs("normalization", ("batchnorm",))

data = partial(option, group="data", loads=True, recalled=True)
reading = partial(data, loads=False, may_change=True, compared=False)
augmentation = partial(option, group="augmentation", in_tests=False)
augm = partial(augmentation, within=">= 0", grid=True)
training = partial(option, group="training", in_tests=False)
objective = partial(training, grid=True, recalled=True, in_tests=True)
schedule = partial(training, grid=True, tuned=True)
regulariser = partial(option, group="regulariser", needs=REGULARISED, in_tests=False, tuned=True)
run = partial(option, group="run")
carrying_out = partial(run, may_change=True, compared=False)  # how and where, not what
no_models = "state-space models, which do not exist here yet"
retired = partial(option, group="", grid=True, help=no_models)


@dataclass(frozen=True)
class TrainingConfig:
    """One training run: every field holds a single value, also when it is a point of a grid."""

    dataset_name: str = data(
        "shd",
        choices=(*SPIKING_DATASETS, *AUDIO_DATASETS),
        registry="datasets/registry.py",
        aliases={"gsc": "sc"},
        help="data set; gsc is another name for sc, and demo is shipped with the code",
    )
    data_folder: Path | None = data(
        None, may_change=True, help="folder of the data set; by default data/SHD etc. by data set"
    )
    shd_validation: str = data(
        "test",
        choices=("test", "speakers", "random"),
        only_for=UNVALIDATED,
        in_tests=False,
        help="validation set of shd and demo: the test set, as published, or speakers or random "
        "clips held out of the training set",
    )
    nb_steps: int = data(100, within=">= 2", needs=SPIKES, tuned=True, help="time steps of a clip")
    max_time: float = data(
        1.0, within="> 0", needs=SPIKES, tuned=True, help="seconds of a clip that are kept"
    )
    spatial_bin: int = data(
        5, within=">= 1", needs=SPIKES, help="neighbouring channels summed into one; divides 700"
    )
    skip_bad_files: bool = data(
        False, only_for=AUDIO, help="skip audio files that cannot be used, and report how many"
    )
    sample_rate: int = data(
        0,
        within=">= 0",
        only_for=AUDIO,
        help="sampling rate in Hz to which recordings are resampled; 0: that of most files",
    )
    num_workers: int = reading(
        8,
        within=">= 0",
        grid=True,
        help="threads that read audio files; spiking data are binned once, in one thread",
    )
    data_placement: str = reading(
        "auto",
        choices=("auto", "resident", "streamed"),
        help="where clips are during training: in GPU memory, or in host memory with batches "
        "copied one ahead; auto: in GPU memory if they fit into half of what is free",
    )

    use_augm: bool = augmentation(
        False,
        only_for=AUDIO,
        help="augment training clips as published: random polarity, noise, gain and reverberation",
    )
    min_snr: float = augmentation(
        0.0001,
        within=">= 0",
        needs=AUGMENTED,
        not_above="max_snr",
        help="lowest ratio of noise to signal amplitude (the name is the published one)",
    )
    max_snr: float = augmentation(
        0.9, within=">= 0", needs=AUGMENTED, help="highest ratio of noise to signal amplitude"
    )
    augm_time_shift: float = augm(
        0.0, help="largest shift of training clips in time, in seconds, to either side"
    )
    augm_time_mask: int = augm(
        0, only_for=AUDIO, help="most feature frames of 10 ms that are masked (SpecAugment)"
    )
    augm_freq_mask: int = augm(
        0,
        within=">= 0 and < 40",
        only_for=AUDIO,
        help="most feature bands, of 40, that are masked (SpecAugment)",
    )
    augm_channel_shift: int = augm(
        0,
        only_for=SPIKES,
        tuned=True,
        help="largest shift of training clips, up or down, in channels (of 700 / spatial_bin)",
    )
    augm_event_drop: float = augm(
        0.0,
        within=">= 0 and < 1",
        only_for=SPIKES,
        tuned=True,
        help="probability that an event is dropped",
    )
    augm_cutmix: float = augm(
        0.0,
        within=">= 0 and <= 1",
        only_for=SPIKES,
        help="probability that a stretch of a clip is replaced by another's of its class (CutMix)",
    )

    batch_size: int = training(
        128, within=">= 1", recalled=True, in_tests=True, help="clips in a batch"
    )
    nb_epochs: int = training(100, within=">= 1", may_change=True, help="epochs to train")
    start_epoch: int = training(
        0, within=">= 0", help="epochs trained before this run, which counts on from there"
    )
    lr: float = schedule(0.01, within="> 0 and <= 1e6", help="initial learning rate")
    scheduler_patience: int = schedule(
        10,
        within=">= 0",
        help="epochs without a better validation accuracy before the learning rate drops",
    )
    scheduler_factor: float = schedule(
        0.7, within="> 0 and < 1", help="factor by which the learning rate is then multiplied"
    )
    max_grad_norm: float | None = training(
        None, within="> 0", grid=True, help="norm to which gradients are clipped; default: no limit"
    )
    seed: int = training(
        13,
        within=f">= 0 and < {2**63}",
        grid=True,
        grid_default=(13, 42, 73, 190, 268),
        in_tests=True,
        compared=False,
        help="random seed; each is a run of its own",
    )

    bn_statistics: str = training(
        "running",
        choices=("running", "recalibrated"),
        needs=BATCHNORM,
        help="batchnorm statistics for validation and test: running means over past weights, as "
        "published, or those of the present weights, better on small data sets",
    )

    loss: str = objective(
        "cross_entropy",
        choices=("cross_entropy", "mean_potential", "last_potential", "max_potential", "nll_steps"),
        registry="training/loss.py",
        help="cross-entropy of the readout's class scores, as published; of the mean, last or "
        "maximum output potential; or the negative log likelihood summed over the steps",
    )
    label_smoothing: float = objective(
        0.0,
        within=">= 0 and < 1",
        help="share of the target probability that is spread evenly over all classes",
    )

    use_regularizers: bool = regulariser(
        False,
        grid=True,
        needs=None,
        only_for=SPIKING,
        help="penalise firing rates outside [reg_fmin, reg_fmax]",
    )
    reg_factor: float = regulariser(0.5, within=">= 0", help="weight of the penalty in the loss")
    reg_fmin: float = regulariser(
        0.01, within=">= 0 and <= 1", not_above="reg_fmax", help="lowest rate without penalty"
    )
    reg_fmax: float = regulariser(0.5, within=">= 0 and <= 1", help="highest rate without penalty")

    debug: bool = carrying_out(
        False,
        switch=True,
        scope="process",
        help="a quick try: one seed (13, or the one given), the first value of every other grid "
        "axis, no wandb",
    )
    evaluate_pretrained: bool = run(
        False, scope="process", help="test the model in load_exp_folder instead of training one"
    )
    load_exp_folder: Path | None = run(
        None, tuned=True, help="experiment folder to load, or a name in reference_models/"
    )
    new_exp_folder: Path | None = carrying_out(
        None, scope="command", help="experiment folder to write; default: named after the options"
    )
    overwrite: bool = carrying_out(
        False,
        switch=True,
        scope="command",
        recorded=False,
        help="replace an experiment folder that already exists",
    )
    resume: Path | None = carrying_out(
        None,
        scope="command",
        recorded=False,
        help="continue an interrupted run: its folder, which also gives its options; or auto "
        "with the command it was started by, which also skips finished runs",
    )
    checkpoint_minutes: float = carrying_out(
        10.0,
        within="> 0",
        in_tests=False,
        help="minutes between saved states within an epoch; one is saved after every epoch anyway",
    )
    save_best: bool = run(
        True, compared=False, in_tests=False, help="save the best model by validation accuracy"
    )
    deterministic: bool = run(
        False,
        scope="command",
        help="give the same bits every time on a GPU too, more slowly; the CPU does so anyway",
    )
    log_tofile: bool = carrying_out(True, help="write the log to a file as well")
    gpu_device: int = carrying_out(
        0,
        within=">= 0",
        several=True,
        scope="process",
        help="CUDA device, by its index; each of several makes one run of the grid at a time",
    )
    jobs: int | None = carrying_out(
        None,
        within=">= 1",
        scope="plan",
        help="runs of the grid made at a time, each in its own process; default: one per "
        "--gpu_device",
    )
    list_points: bool = carrying_out(
        False, switch=True, scope="plan", help="print number and folder of each run, and stop"
    )
    only_point: int | None = carrying_out(
        None,
        within=">= 1",
        scope="plan",
        help="make only one run of the grid, by its number in --list_points, as cluster tasks do",
    )
    backend: str = run(
        "auto",
        choices=("auto", "naive", "cpu", "cuda"),
        help="implementation of the time loops (on a CPU also of dropout and sparse products): the "
        "fastest that runs here, plain PyTorch, or compiled for the CPU (numba) or GPU (triton)",
    )
    cuda_graph: str = carrying_out(
        "auto",
        choices=("auto", "on", "off"),
        in_tests=False,
        help="launch each training step as one CUDA graph, with the same numbers; auto: where "
        "launching kernels one by one keeps the GPU waiting",
    )
    precision: str = training(
        "fp32",
        choices=("fp32", "tf32", "bf16"),
        in_tests=True,
        help="operands of the feed-forward matrix products; neurons, normalisation and optimiser "
        "are always fp32. tf32 needs a GPU",
    )
    tracking: str = carrying_out(
        "auto",
        choices=("auto", "wandb", "offline", "none"),
        scope="process",
        help="where curves are logged: auto, to wandb with a login and a network, else offline for "
        "a later `wandb sync`; wandb, or an error; offline; none. WANDB_MODE is respected",
    )
    sweep_name: str | None = carrying_out(None, scope="command", help="name of a new wandb sweep")
    sweep_id: str | None = carrying_out(
        None, scope="process", help="wandb sweep to join: its id, or entity/project/id"
    )
    only_createsweep: bool = carrying_out(
        False, scope="process", help="create the wandb sweep and stop before the first run"
    )


@dataclass(frozen=True)
class Retired:
    """Options of earlier versions, accepted without effect."""

    state_size: int = retired(64, within=">= 1")
    s4_opt: bool = retired(False)
