# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT

"""The options that define data, optimisation, and how a run is carried out."""

# ruff: noqa: RUF009  (option() returns a dataclass field, which is what the rule asks for)

from dataclasses import dataclass
from pathlib import Path

from parsers.options import option

SPIKING_DATASETS = ("shd", "ssc", "demo")
AUDIO_DATASETS = ("hd", "sc")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run: every field holds a single value, also when it is a point of a grid."""

    dataset_name: str = option(
        "shd",
        group="data",
        choices=("shd", "ssc", "hd", "sc", "demo"),
        aliases={"gsc": "sc"},
        help="data set; gsc is another name for sc, and demo is shipped with the code",
    )
    data_folder: Path | None = option(
        None, group="data", help="folder of the data set; by default data/SHD etc. by data set"
    )
    shd_validation: str = option(
        "test",
        group="data",
        choices=("test", "speakers", "random"),
        help="validation set of shd and demo, which have none: the test set, as published, or "
        "speakers or random clips held out of the training set",
    )
    nb_steps: int = option(
        100, group="data", minimum=2, help="time steps of a clip (spiking data sets)"
    )
    max_time: float = option(
        1.0, group="data", above=0, help="seconds of a clip that are kept (spiking data sets)"
    )
    spatial_bin: int = option(
        5,
        group="data",
        minimum=1,
        help="neighbouring channels summed into one, a divisor of 700 (spiking data sets)",
    )
    skip_bad_files: bool = option(
        False,
        group="data",
        help="leave out audio files that cannot be used, and say how many (hd and sc only)",
    )
    sample_rate: int = option(
        0,
        group="data",
        minimum=0,
        help="sampling rate in Hz that recordings are brought to; 0: that of most files (hd and sc "
        "only)",
    )
    num_workers: int = option(
        8,
        group="data",
        minimum=0,
        grid=True,
        help="threads that read audio files (hd and sc); spiking sets are binned once, in one",
    )
    data_placement: str = option(
        "auto",
        group="data",
        choices=("auto", "resident", "streamed"),
        help="where clips live during training: in GPU memory, or in host memory with batches "
        "copied one ahead; auto keeps in GPU memory what fits into half of what is free there",
    )

    use_augm: bool = option(
        False,
        group="augmentation",
        help="change training clips at random, as published: polarity, noise, gain and "
        "reverberation (hd and sc only)",
    )
    min_snr: float = option(
        0.0001,
        group="augmentation",
        minimum=0,
        help="with use_augm, lowest ratio of noise to signal in amplitude; the name is the "
        "published one",
    )
    max_snr: float = option(
        0.9, group="augmentation", minimum=0, help="with use_augm, highest ratio of these"
    )
    augm_time_shift: float = option(
        0.0,
        group="augmentation",
        minimum=0,
        grid=True,
        help="seconds by which training clips are moved at most, to either side",
    )
    augm_time_mask: int = option(
        0,
        group="augmentation",
        minimum=0,
        grid=True,
        help="feature frames of 10 ms that are masked at most (SpecAugment; hd and sc only)",
    )
    augm_freq_mask: int = option(
        0,
        group="augmentation",
        minimum=0,
        below=40,
        grid=True,
        help="feature bands, of 40, that are masked at most (SpecAugment; hd and sc only)",
    )
    augm_channel_shift: int = option(
        0,
        group="augmentation",
        minimum=0,
        grid=True,
        help="channels, of 700 / spatial_bin, by which training clips are moved at most, up or "
        "down (spiking data sets)",
    )
    augm_event_drop: float = option(
        0.0,
        group="augmentation",
        minimum=0,
        below=1,
        grid=True,
        help="probability of each event to be dropped (spiking data sets)",
    )
    augm_cutmix: float = option(
        0.0,
        group="augmentation",
        minimum=0,
        maximum=1,
        grid=True,
        help="probability of each clip to have a stretch of time replaced by that of another of "
        "its class (CutMix; spiking data sets)",
    )

    batch_size: int = option(128, group="training", minimum=1, help="clips in a batch")
    nb_epochs: int = option(100, group="training", minimum=1, help="epochs to train")
    start_epoch: int = option(
        0, group="training", minimum=0, help="epochs done before this run; it counts on from there"
    )
    lr: float = option(
        0.01, group="training", above=0, maximum=1e6, grid=True, help="initial learning rate"
    )
    s4_opt: bool = option(
        False,
        group="training",
        grid=True,
        help="optimiser of state-space models; none is here yet, so this can only be False",
    )
    scheduler_patience: int = option(
        10,
        group="training",
        minimum=0,
        grid=True,
        help="epochs without a better validation accuracy before the learning rate is lowered",
    )
    scheduler_factor: float = option(
        0.7,
        group="training",
        above=0,
        below=1,
        grid=True,
        help="factor by which the learning rate is then multiplied",
    )
    max_grad_norm: float | None = option(
        None,
        group="training",
        above=0,
        grid=True,
        help="length to which longer gradients are cut before a step; by default none is",
    )
    seed: int = option(
        13,
        group="training",
        minimum=0,
        below=2**63,
        grid=True,
        grid_default=(13, 42, 73, 190, 268),
        help="random seed; each one is a run of its own",
    )

    bn_statistics: str = option(
        "running",
        group="training",
        choices=("running", "recalibrated"),
        help="batchnorm statistics that a model is validated and tested with: running means over "
        "past weights, as published, or those of its present weights, better on small data sets",
    )

    loss: str = option(
        "cross_entropy",
        group="training",
        choices=("cross_entropy", "mean_potential", "last_potential", "max_potential", "nll_steps"),
        grid=True,
        help="loss: cross entropy of the readout's class scores, as published; of the mean, last "
        "or maximum output potential; or the negative log likelihood summed over the steps",
    )
    label_smoothing: float = option(
        0.0,
        group="training",
        minimum=0,
        below=1,
        grid=True,
        help="share of each target's probability that is spread evenly over all classes",
    )

    use_regularizers: bool = option(
        False,
        group="regulariser",
        grid=True,
        help="penalise firing rates outside [reg_fmin, reg_fmax] (spiking models only)",
    )
    reg_factor: float = option(
        0.5, group="regulariser", minimum=0, help="weight of the penalty in the loss"
    )
    reg_fmin: float = option(
        0.01, group="regulariser", minimum=0, maximum=1, help="lowest rate without penalty"
    )
    reg_fmax: float = option(
        0.5, group="regulariser", minimum=0, maximum=1, help="highest rate without penalty"
    )

    debug: bool = option(
        False,
        group="run",
        switch=True,
        help="a quick try: one seed (13, or the one given), the first value of every other grid "
        "axis, no wandb",
    )
    evaluate_pretrained: bool = option(
        False, group="run", help="test the model in load_exp_folder instead of training one"
    )
    load_exp_folder: Path | None = option(
        None, group="run", help="experiment folder to load, or a name in reference_models/"
    )
    new_exp_folder: Path | None = option(
        None, group="run", help="experiment folder to write; by default named after the options"
    )
    overwrite: bool = option(
        False, group="run", switch=True, help="replace an experiment folder that already exists"
    )
    resume: Path | None = option(
        None,
        group="run",
        help="go on with an interrupted run: its folder, which also gives its options; or auto "
        "with the command it was started by, which also leaves out the runs that are finished",
    )
    checkpoint_minutes: float = option(
        10.0,
        group="run",
        above=0,
        help="minutes between two states saved within a long epoch; one is saved after every epoch",
    )
    save_best: bool = option(True, group="run", help="save the best model by validation accuracy")
    deterministic: bool = option(
        False,
        group="run",
        help="use only operations that give the same bits every time, on a GPU too, and slower; "
        "on the CPU they do anyway",
    )
    log_tofile: bool = option(True, group="run", help="write the log to a file as well")
    gpu_device: int = option(
        0,
        group="run",
        minimum=0,
        several=True,
        help="index of the CUDA device; of several, each takes a run of the grid at a time",
    )
    jobs: int | None = option(
        None,
        group="run",
        minimum=1,
        help="runs of the grid that go on at a time, each a process of its own; by default one "
        "on each of several --gpu_device, else one",
    )
    list_points: bool = option(
        False, group="run", switch=True, help="print number and folder of each run, and stop"
    )
    only_point: int | None = option(
        None,
        group="run",
        minimum=1,
        help="make one run of the grid, by its number in --list_points, as tasks of a cluster do",
    )
    backend: str = option(
        "auto",
        group="run",
        choices=("auto", "naive", "cpu", "cuda"),
        help="implementation of the time loops (on a CPU also of dropout and of products with "
        "sparse spikes): the fastest that runs here, plain PyTorch, or compiled for the CPU "
        "(numba) or the GPU (triton)",
    )
    cuda_graph: str = option(
        "auto",
        group="run",
        choices=("auto", "on", "off"),
        help="launch each training step as one CUDA graph, with the same numbers; auto does where "
        "launching the kernels one by one keeps the GPU waiting",
    )
    precision: str = option(
        "fp32",
        group="training",
        choices=("fp32", "tf32", "bf16"),
        help="operands of the feed-forward matrix products; neurons, normalisation and optimiser "
        "are always fp32. tf32 needs a GPU",
    )
    tracking: str = option(
        "auto",
        group="run",
        choices=("auto", "wandb", "offline", "none"),
        help="where curves are logged: auto, to wandb with a login and a network, else offline for "
        "a later `wandb sync`; wandb, or an error; offline; none. WANDB_MODE is respected",
    )
    sweep_name: str | None = option(None, group="run", help="name of a new wandb sweep")
    sweep_id: str | None = option(
        None, group="run", help="wandb sweep to join: its id, or entity/project/id"
    )
    only_createsweep: bool = option(
        False, group="run", help="create the wandb sweep and stop before the first run"
    )
