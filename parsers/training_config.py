# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that define data, optimisation, and how a run is carried out."""

# ruff: noqa: RUF009  (option() returns a dataclass field, which is what the rule asks for)

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from parsers.model_config import ANY_DELAYS, S4D, SPIKING
from parsers.options import AUTO, Needs, option

# The names of all data sets, each of them a line in datasets/registry.py.
SPIKING_DATASETS = ("shd", "ssc", "demo")
AUDIO_DATASETS = ("hd", "sc")
WITHOUT_VALIDATION = ("shd", "demo")  # spiking data sets with no validation files of their own
SPIKES = Needs("dataset_name", SPIKING_DATASETS, f"spiking data ({', '.join(SPIKING_DATASETS)})")
AUDIO = Needs("dataset_name", AUDIO_DATASETS, f"audio ({', '.join(AUDIO_DATASETS)})")
UNVALIDATED = Needs(
    "dataset_name",
    WITHOUT_VALIDATION,
    f"data sets without a fixed validation set, {' and '.join(WITHOUT_VALIDATION)}",
)
AUGMENTED = Needs("use_augm", (True,))
REGULARISED = Needs("use_regularizers", (True,))
SCHEDULERS = ("plateau", "onecycle", "cosine", "linear")
PLATEAU = Needs("scheduler", ("plateau",), also=Needs("delay_scheduler", ("plateau",)))
ONECYCLE = Needs("scheduler", ("onecycle",), also=Needs("delay_scheduler", ("onecycle",)))
OTHER_THAN_S4 = Needs("s4_opt", (False,), "trainings without --s4_opt True")
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
spread = partial(carrying_out, within=">= 1", scope="plan")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run: every field holds a single value, also when it is a point of a grid."""

    dataset_name: str = data(
        "shd",
        "data set; gsc is another name for sc, and demo is shipped with the code",
        choices=(*SPIKING_DATASETS, *AUDIO_DATASETS),
        registry="datasets/registry.py",
        aliases={"gsc": "sc"},
    )
    data_folder: Path | None = data(
        None, "folder of the data set; by default data/SHD, data/SSC etc.", may_change=True
    )
    shd_validation: str = data(
        AUTO,
        "validation set of shd and demo: the test set, speakers or random clips held out of the "
        "training set, or shd_valid.h5; auto: the test set on the published data, as published, "
        "on others such a file, or speakers or random clips",
        choices=(AUTO, "test", "speakers", "random", "file"),
        by_data=True,
        only_for=UNVALIDATED,
        harmless=("test",),
        in_tests=False,
    )
    nb_outputs: int | None = data(
        None,
        "output neurons; default: one for each class. With those of the published data (shd: 20, "
        "ssc: 35), a seed gives the published weights for fewer classes too",
        within=">= 2",
    )
    nb_steps: int = data(100, "time steps of a clip", within=">= 2", needs=SPIKES, tuned=True)
    max_time: float = data(
        1.0, "seconds of a clip that are kept", within="> 0", needs=SPIKES, tuned=True
    )
    spatial_bin: int = data(
        5, "neighbouring channels summed into one; divides 700", within=">= 1", needs=SPIKES
    )
    nb_channels: int | None = data(
        None,
        "channels of the spikes; default: 700, unless the files say or hold others",
        within=">= 1 and <= 524288",
        needs=SPIKES,
    )
    skip_bad_files: bool = data(
        False, "skip audio files that cannot be used, and report how many", only_for=AUDIO
    )
    sample_rate: int = data(
        0,
        "sampling rate in Hz to resample to; 0: that of most files",
        within=">= 0",
        only_for=AUDIO,
    )
    feature_backend: str = data(
        "torch",
        "filterbank of audio: ours, in batches, or torchaudio's, clip by clip, whose features are "
        "exactly the published ones; torchaudio imports only beside the CUDA build of PyTorch it "
        "was made for, and auto takes it there",
        choices=("torch", "torchaudio", AUTO),
        by_data=True,
        only_for=AUDIO,
    )
    num_workers: int = reading(
        8, "threads that read audio files; spiking data need only one", within=">= 0", grid=True
    )
    data_placement: str = reading(
        "auto",
        "where clips are during training: in GPU memory, or in host memory with batches "
        "copied one ahead; auto: in GPU memory if they fit into half of what is free",
        choices=("auto", "resident", "streamed"),
    )

    use_augm: bool = augmentation(
        False, "augment as published: random polarity, noise, gain, reverberation", only_for=AUDIO
    )
    min_snr: float = augmentation(
        0.0001,
        "lowest ratio of noise to signal amplitude (the name is the published one)",
        within=">= 0",
        needs=AUGMENTED,
        not_above="max_snr",
    )
    max_snr: float = augmentation(
        0.9, "highest ratio of noise to signal amplitude", within=">= 0", needs=AUGMENTED
    )
    augm_time_shift: float = augm(
        0.0, "largest shift of training clips in time, in seconds, to either side"
    )
    augm_time_mask: int = augm(
        0, "maximum number of 10 ms feature frames to mask (SpecAugment)", only_for=AUDIO
    )
    augm_freq_mask: int = augm(
        0,
        "maximum number of feature bands, of 40, to mask (SpecAugment)",
        within=">= 0 and < 40",
        only_for=AUDIO,
    )
    augm_channel_shift: int = augm(
        0,
        "largest shift of training clips, up or down, in channels (of 700 / spatial_bin)",
        only_for=SPIKES,
        tuned=True,
    )
    augm_event_drop: float = augm(
        0.0, "probability of dropping an event", within=">= 0 and < 1", only_for=SPIKES, tuned=True
    )
    augm_cutmix: float = augm(
        0.0,
        "probability that a stretch of a clip is replaced by another's of its class (CutMix)",
        within=">= 0 and <= 1",
        only_for=SPIKES,
    )

    batch_size: int = training(128, "clips in a batch", within=">= 1", recalled=True, in_tests=True)
    nb_epochs: int = training(100, "epochs to train", within=">= 1", may_change=True)
    start_epoch: int = training(
        0, "epochs trained before this run, which counts on from there", within=">= 0"
    )
    lr: float = schedule(0.01, "initial learning rate", within="> 0 and <= 1e6")
    scheduler: str = schedule(
        "plateau",
        "learning rate over the epochs: lower when validation stops getting better; one cycle up "
        "and down; or along a cosine or a line to zero",
        choices=SCHEDULERS,
    )
    scheduler_patience: int = schedule(
        10,
        "epochs without a better validation accuracy before lr drops",
        within=">= 0",
        needs=PLATEAU,
    )
    scheduler_factor: float = schedule(
        0.7, "factor by which lr is then multiplied", within="> 0 and < 1", needs=PLATEAU
    )
    max_lr: float | None = schedule(
        None,
        "peak of onecycle, which starts at a 25th of it; default: five times lr",
        within="> 0 and <= 1e6",
        needs=ONECYCLE,
    )
    cycle_beta1: bool = schedule(
        True,
        "onecycle also moves beta1 of Adam from .95 to .85 and back, as published; else it is .9",
        needs=ONECYCLE,
    )
    delay_lr_factor: float = schedule(
        100.0,
        "learning rate of the positions of delays, in that of weights",
        within=">= 0",
        needs=ANY_DELAYS,
    )
    delay_scheduler: str = schedule(
        "cosine",
        "--scheduler of the positions of delays",
        choices=SCHEDULERS,
        needs=ANY_DELAYS,
    )
    optimizer: str = schedule(
        "adam",
        "adam, whose weight decay is an L2 penalty in the gradient, or adamw, whose decay acts on "
        "the weights",
        choices=("adam", "adamw"),
        needs=OTHER_THAN_S4,
    )
    weight_decay: float = schedule(
        0.0,
        "decay of weight matrices and their biases; neurons, norms and delays have none",
        within=">= 0",
        needs=OTHER_THAN_S4,
    )
    s4_opt: bool = schedule(
        False,
        "adamw as published for S4D: decay 0.01 for all parameters but the time steps and A, whose "
        "learning rate is at most 0.001",
        needs=S4D,
    )
    max_grad_norm: float | None = training(
        None, "norm to which gradients are clipped; default: no limit", within="> 0", grid=True
    )
    seed: int = training(
        13,
        "random seed; each is a run of its own",
        within=f">= 0 and < {2**63}",
        grid=True,
        grid_default=(13, 42, 73, 190, 268),
        in_tests=True,
        compared=False,
    )

    bn_statistics: str = training(
        AUTO,
        "batchnorm statistics for validation and test: running means over past weights, or those "
        "of the present weights, better on small data sets; auto: running on published data, as "
        "published, recalibrated on others",
        choices=(AUTO, "running", "recalibrated"),
        by_data=True,
        needs=BATCHNORM,
    )

    bn_momentum: float = training(
        0.05,
        "weight of a batch in the running means of batchnorm; 0.1 is published with delays",
        within="> 0 and <= 1",
        needs=BATCHNORM,
        grid=True,
    )
    loss: str = objective(
        "cross_entropy",
        "cross-entropy of the readout's class scores, as published; of the mean, last or "
        "maximum output potential; or the negative log likelihood summed over the steps",
        choices=("cross_entropy", "mean_potential", "last_potential", "max_potential", "nll_steps"),
        registry="training/loss.py",
    )
    label_smoothing: float = objective(
        0.0, "share of the target that is spread evenly over all classes", within=">= 0 and < 1"
    )

    use_regularizers: bool = regulariser(
        False,
        "penalise firing rates outside [reg_fmin, reg_fmax]",
        grid=True,
        needs=None,
        only_for=SPIKING,
    )
    reg_factor: float = regulariser(0.5, "weight of the penalty in the loss", within=">= 0")
    reg_fmin: float = regulariser(
        0.01, "lowest rate without penalty", within=">= 0 and <= 1", not_above="reg_fmax"
    )
    reg_fmax: float = regulariser(0.5, "highest rate without penalty", within=">= 0 and <= 1")

    debug: bool = carrying_out(
        False,
        "a quick try: one seed (13, or the one given), the first value of every other grid "
        "axis, no wandb",
        switch=True,
        scope="process",
    )
    evaluate_pretrained: bool = run(
        False, "test the model in load_exp_folder instead of training one", scope="process"
    )
    load_exp_folder: Path | None = run(
        None, "experiment folder to load, or a name in reference_models/", tuned=True
    )
    new_exp_folder: Path | None = carrying_out(
        None, "experiment folder to write; default: named after the options", scope="command"
    )
    overwrite: bool = carrying_out(
        False, "replace an existing experiment", switch=True, scope="command", recorded=False
    )
    resume: Path | None = carrying_out(
        None,
        "continue an interrupted run: its folder, which also gives its options; or auto "
        "with the command it was started by, which also skips finished runs",
        scope="command",
        recorded=False,
    )
    checkpoint_minutes: float = carrying_out(
        10.0,
        "minutes between saved states within an epoch; one is saved after every epoch anyway",
        within="> 0",
        in_tests=False,
    )
    save_best: bool = run(
        True, "save the best model by validation accuracy", compared=False, in_tests=False
    )
    deterministic: bool = run(
        False,
        "give the same bits every time on a GPU too, as on a CPU, but slower",
        scope="command",
    )
    log_tofile: bool = carrying_out(True, "write the log to a file as well")
    gpu_device: int = carrying_out(
        0,
        "CUDA device, by its index; each of several makes one run of the grid at a time",
        within=">= 0",
        several=True,
        scope="process",
    )
    jobs: int | None = spread(
        None, "runs made at a time, each in its own process; default: one per --gpu_device"
    )
    list_points: bool = carrying_out(
        False, "print number and folder of each run, and stop", switch=True, scope="plan"
    )
    only_point: int | None = spread(
        None, "make only the run of this number in --list_points, as cluster tasks do"
    )
    backend: str = run(
        "auto",
        "implementation of the time loops (on a CPU also of dropout and sparse products): the "
        "fastest that runs here, plain PyTorch, or compiled for the CPU (numba) or GPU (triton)",
        choices=("auto", "naive", "cpu", "cuda"),
    )
    cuda_graph: str = carrying_out(
        "auto",
        "launch each training step as one CUDA graph, with the same numbers; auto: where "
        "launching kernels one by one keeps the GPU waiting",
        choices=("auto", "on", "off"),
        in_tests=False,
    )
    precision: str = training(
        "fp32",
        "operands of the feed-forward matrix products; neurons, normalisation and optimiser "
        "are always fp32. tf32 needs a GPU",
        choices=("fp32", "tf32", "bf16"),
        in_tests=True,
    )
    tracking: str = carrying_out(
        "auto",
        "where curves are logged: auto, to wandb with a login and a network, else offline for "
        "a later `wandb sync`; wandb, or an error; offline; none. WANDB_MODE is respected",
        choices=("auto", "wandb", "offline", "none"),
        scope="process",
    )
    sweep_name: str | None = carrying_out(None, "name of a new wandb sweep", scope="command")
    sweep_id: str | None = carrying_out(
        None, "wandb sweep to join: its id, or entity/project/id", scope="process"
    )
    only_createsweep: bool = carrying_out(
        False, "create the wandb sweep and stop before the first run", scope="process"
    )
