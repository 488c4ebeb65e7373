# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Options that are valid one by one and cannot go together."""

from collections.abc import Sequence

from parsers.model_config import ANN_TYPES, ModelConfig
from parsers.options import ConfigError, options_of
from parsers.training_config import SPIKING_DATASETS, TrainingConfig

SHD_CHANNELS = 700
WITHOUT_VALIDATION = ("shd", "demo")  # spiking data sets with no validation files of their own
AUDIO_OPTIONS = ("use_augm", "skip_bad_files", "sample_rate", "augm_time_mask", "augm_freq_mask")
# A test takes the other options too: it is drawn by seed, batch by batch, in a precision.
OF_A_TRAINING = (
    "pdrop",
    *(
        name
        for name, option in options_of(TrainingConfig).items()
        if option.rules.group in ("augmentation", "training", "regulariser")
        and name not in ("batch_size", "seed", "precision")
    ),
    "checkpoint_minutes",
    "save_best",
    "cuda_graph",
)
SPIKING_OPTIONS = ("augm_channel_shift", "augm_event_drop", "augm_cutmix")


def check_together(model: ModelConfig, training: TrainingConfig) -> None:
    """Raise ConfigError if options that are valid one by one cannot go together."""
    spiking_data = training.dataset_name in SPIKING_DATASETS
    if model.dt_min > model.dt_max:
        raise ConfigError(f"--dt_min {model.dt_min} is larger than --dt_max {model.dt_max}")
    if model.model_type == "MLP" and model.bidirectional:
        raise ConfigError("--bidirectional True needs a model with a state, not --model_type MLP")
    if model.model_type in ANN_TYPES and training.use_regularizers:
        raise ConfigError(
            f"--use_regularizers True acts on firing rates, and --model_type {model.model_type} "
            "does not spike"
        )
    if training.s4_opt:
        raise ConfigError("--s4_opt True is for state-space models, and none is here yet")
    if training.reg_fmin > training.reg_fmax:
        raise ConfigError(
            f"--reg_fmin {training.reg_fmin} is larger than --reg_fmax {training.reg_fmax}"
        )
    if training.resume is not None and training.overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite replaces it: choose one")
    if training.resume is not None and training.evaluate_pretrained:
        raise ConfigError("--resume goes on with training; --evaluate_pretrained True trains none")
    if spiking_data:
        _refuse_set(training, AUDIO_OPTIONS, "audio (--dataset_name sc or hd)")
    else:
        _refuse_set(training, SPIKING_OPTIONS, "spiking data (--dataset_name shd, ssc or demo)")
    if spiking_data and SHD_CHANNELS % training.spatial_bin:
        raise ConfigError(
            f"--spatial_bin {training.spatial_bin} does not divide the {SHD_CHANNELS} channels of "
            f"--dataset_name {training.dataset_name}"
        )
    if training.shd_validation != "test" and training.dataset_name not in WITHOUT_VALIDATION:
        raise ConfigError(
            f"--shd_validation {training.shd_validation} is for data sets without a fixed "
            f"validation set ({', '.join(WITHOUT_VALIDATION)}), and {training.dataset_name} is not "
            "listed as one"
        )
    _check_augmentation(training, spiking_data)


def _refuse_set(training: TrainingConfig, names: Sequence[str], kind: str) -> None:
    """Raise ConfigError if one of these options, which are for another kind of data, is set."""
    for name in names:
        if value := getattr(training, name):
            raise ConfigError(
                f"--{name} {value} is for {kind}, not for --dataset_name {training.dataset_name}"
            )


def _check_augmentation(training: TrainingConfig, spiking_data: bool) -> None:
    if training.min_snr > training.max_snr:
        raise ConfigError(
            f"--min_snr {training.min_snr} is larger than --max_snr {training.max_snr}"
        )
    if not spiking_data:
        return
    channels = SHD_CHANNELS // training.spatial_bin
    if training.augm_channel_shift >= channels:
        raise ConfigError(
            f"--augm_channel_shift {training.augm_channel_shift} moves clips out of the {channels} "
            f"channels that --spatial_bin {training.spatial_bin} leaves"
        )
    if training.augm_time_shift >= training.max_time:
        raise ConfigError(
            f"--augm_time_shift {training.augm_time_shift} moves clips out of --max_time "
            f"{training.max_time}"
        )


def without_effect(model: ModelConfig, training: TrainingConfig) -> dict[str, str]:
    """Options that do nothing beside the others, and what they are for."""
    found = {"state_size": "state-space models, and none is here yet"}
    if training.dataset_name not in SPIKING_DATASETS:
        found |= dict.fromkeys(("nb_steps", "max_time", "spatial_bin"), "spiking data")
    if not training.use_augm:
        found |= dict.fromkeys(("min_snr", "max_snr"), "--use_augm True")
    if model.model_type != "CSiLIF":
        found |= dict.fromkeys(("dt_min", "dt_max"), "--model_type CSiLIF")
    if model.model_type in ANN_TYPES:
        found["init_state"] = "spiking models"
    if not training.use_regularizers:
        found |= dict.fromkeys(("reg_factor", "reg_fmin", "reg_fmax"), "--use_regularizers True")
    if model.normalization != "batchnorm":
        found["bn_statistics"] = "--normalization batchnorm"
    if training.evaluate_pretrained:
        found |= dict.fromkeys(OF_A_TRAINING, "training")
    return found
