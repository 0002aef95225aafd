"""The code that reads an export elsewhere, ready to paste: it needs NumPy, PyTorch, webdataset or TensorFlow, nothing of ours.

Each is written as `loader.py` beside the shards, and printed with the folder filled in. `tests/test_export_clips.py` runs
them. They read one shard at a time and hand out waveforms as float32 in [-1, 1], with a label index (-1: no labels).
"""

TFRECORD = '''\
"""Reads these clips with TensorFlow: a tf.data.Dataset of (audio, label)."""
import json
from pathlib import Path

import tensorflow as tf


def load(folder, split="train"):
    folder = Path(folder)
    spec = json.loads((folder / "spec.json").read_text())
    files = [str(folder / shard["file"]) for shard in spec["shards"] if shard["split"] == split]
    fields = {"audio": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def read(record):
        clip = tf.io.parse_single_example(record, fields)
        audio = tf.cast(tf.io.decode_raw(clip["audio"], tf.int16), tf.float32) * spec["scale"]
        return tf.ensure_shape(audio, [spec["timesteps"]]), clip["label"]

    return tf.data.TFRecordDataset(files).map(read, num_parallel_calls=tf.data.AUTOTUNE)
'''
TFRECORD_USE = "for audio, label in load({folder}).shuffle(1000).batch(16):"

NPZ = '''\
"""Reads these clips with NumPy: arrays (audio, label), one shard after another."""
import json
from pathlib import Path

import numpy as np


def load(folder, split="train"):
    folder = Path(folder)
    spec = json.loads((folder / "spec.json").read_text())
    for shard in spec["shards"]:
        if shard["split"] == split:
            with np.load(folder / shard["file"]) as arrays:
                yield arrays["audio"].astype(np.float32) * spec["scale"], arrays["label"]
'''
NPZ_USE = "for audio, label in load({folder}):"

WEBDATASET = '''\
"""Reads these clips with PyTorch and webdataset: a dataset of (audio, label) for a DataLoader."""
import io
import json
from pathlib import Path

import numpy as np
import soundfile
import torch
import webdataset


def load(folder, split="train"):
    folder = Path(folder)
    spec = json.loads((folder / "spec.json").read_text())
    files = [str(folder / shard["file"]) for shard in spec["shards"] if shard["split"] == split]

    def read(clip):
        codes, _ = soundfile.read(io.BytesIO(clip["wav"]), dtype="int16")
        audio = torch.from_numpy(codes.astype(np.float32) * spec["scale"])
        return audio, json.loads(clip["json"])["label"]

    return webdataset.WebDataset(files, shardshuffle=False, empty_check=False).shuffle(1000).map(read)
'''
WEBDATASET_USE = "for audio, label in torch.utils.data.DataLoader(load({folder}), batch_size=16):"

WAV = '''\
"""Reads these clips with PyTorch: a dataset of (audio, label) for a DataLoader."""
import csv
import json
from pathlib import Path

import numpy as np
import soundfile
import torch


class Clips(torch.utils.data.Dataset):
    def __init__(self, folder, split="train"):
        self.folder, self.rows = Path(folder), []
        self.spec = json.loads((self.folder / "spec.json").read_text())
        for shard in self.spec["shards"]:
            if shard["split"] == split:
                with open(self.folder / shard["file"] / "clips.csv", newline="", encoding="utf-8") as table:
                    self.rows += [(f"{shard['file']}/{row['file']}", int(row["label"])) for row in csv.DictReader(table)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        file, label = self.rows[index]
        codes, _ = soundfile.read(self.folder / file, dtype="int16")
        return torch.from_numpy(codes.astype(np.float32) * self.spec["scale"]), label
'''
WAV_USE = "for audio, label in torch.utils.data.DataLoader(Clips({folder}), batch_size=16, shuffle=True):"

LOADERS = {"tfrecord": TFRECORD, "npz": NPZ, "webdataset": WEBDATASET, "wav": WAV}
USES = {"tfrecord": TFRECORD_USE, "npz": NPZ_USE, "webdataset": WEBDATASET_USE, "wav": WAV_USE}


def to_paste(kind: str, folder: str) -> str:
    """The loader of that format and a loop over the training clips in `folder`."""
    return f"{LOADERS[kind]}\n\n{USES[kind].format(folder=repr(folder))}\n    print(audio.shape, label)\n    break\n"
