# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""All data sets by the name that ``--dataset_name`` knows them by."""

from datasets.audio import AudioDataSet
from datasets.interface import DataSet
from datasets.spiking import SpikingDataSet
from datasets.splits import list_digits, list_words

ZENKE_LAB = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
SPEECH_COMMANDS = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"

# Of the published data; others in the same layout are someone's own. The recordings that became
# spikes are known by their total, since their lists may split them otherwise.
SHD_CLIPS = {"train": 8156, "test": 2264}
SSC_CLIPS = {"train": 75466, "valid": 9981, "test": 20382}
GSC_CLIPS = {"": sum(SSC_CLIPS.values())}
HD_CLIPS = {"": sum(SHD_CLIPS.values())}
DEMO_CLIPS = {"train": 1920, "test": 320}

DATASETS: dict[str, DataSet] = {
    "shd": SpikingDataSet("shd", 20, ("train", "test"), "data/SHD", ZENKE_LAB, "SHD", SHD_CLIPS),
    "ssc": SpikingDataSet(
        "ssc", 35, ("train", "valid", "test"), "data/SSC", ZENKE_LAB, "SSC", SSC_CLIPS
    ),
    "demo": SpikingDataSet(
        "demo", 20, ("train", "test"), "datasets/demo", None, "demo", DEMO_CLIPS
    ),
    "sc": AudioDataSet(
        "sc",
        35,
        list_words,
        "folders of words with recordings",
        "data/GSC",
        SPEECH_COMMANDS,
        "GSC",
        GSC_CLIPS,
    ),
    "hd": AudioDataSet(
        "hd",
        20,
        list_digits,
        "audio/*.flac, train_filenames.txt and test_filenames.txt",
        "data/HD",
        ZENKE_LAB,
        "HD",
        HD_CLIPS,
    ),
}
