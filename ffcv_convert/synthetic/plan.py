"""Plans the images and list files of a set by one pure function per layout; `ffcv_convert.datasets` shows the layouts.

Identities 1..train_identities are for training, the following ones for testing. Only in RegDB does an identity have
both roles, because each trial has its own split. Every file name, camera and split depends only on the options.
"""

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.datasets import llcm, regdb
from ffcv_convert.synthetic.options import Options, Plan, PlannedImage
from ffcv_convert.synthetic.plan_sketch_sets import plan_market_sketch_1k, plan_pku_sketch
from ffcv_convert.synthetic.plan_sysu import plan_sysu
from ffcv_convert.synthetic.plan_video_sets import plan_buptcampus, plan_hitsz_vcm


def plan(options: Options) -> Plan:
    """Plan the images and list files of `options.layout`."""
    plan_layout = {
        "llcm": plan_llcm,
        "sysu": plan_sysu,
        "regdb": plan_regdb,
        "market_sketch_1k": plan_market_sketch_1k,
        "pku_sketch": plan_pku_sketch,
        "hitsz_vcm": plan_hitsz_vcm,
        "buptcampus": plan_buptcampus,
    }[options.layout]
    return plan_layout(options)


def plan_llcm(options: Options) -> Plan:
    """Plan nine visible cameras and eight infrared ones (no camera 3). Every camera sees every test identity."""
    train, test = [], []
    for person in range(1, options.train_identities + options.test_identities + 1):
        for modality, cameras in llcm.CAMERAS.items():
            if person <= options.train_identities:
                turns = (np.arange(options.train_images) + person) % len(cameras)
                for frame, turn in enumerate(turns):
                    name = _llcm_name(options.seed, person, cameras[turn], frame, modality)
                    path = f"{llcm.SHORT[modality]}/{person:04d}/{name}"
                    train.append(PlannedImage(path, person, cameras[turn], frame, modality))
                continue
            for camera in cameras:
                for frame in range(options.test_images):
                    name = _llcm_name(options.seed, person, camera, frame, modality)
                    path = f"test_{llcm.SHORT[modality]}/cam{camera}/{person:04d}/{name}"
                    test.append(PlannedImage(path, person, camera, frame, modality))
    lists = {
        f"idx/train_{short}.txt": "".join(f"{p.path} {p.person - 1}\n" for p in train if p.modality == modality)
        for modality, short in llcm.SHORT.items()
    }
    persons = sorted({image.person for image in test})
    lists["idx/test_id.txt"] = ",".join(map(str, persons)) + "\n"
    return train + test, lists


def _llcm_name(seed: int, person: int, camera: int, frame: int, modality: Modality) -> str:
    scene = np.random.default_rng([seed, person, camera]).integers(100_000, 1_000_000)
    return f"{person:04d}_c{camera:02d}_s{scene}_f{frame:04d}_{llcm.SHORT[modality]}.jpg"


def plan_regdb(options: Options) -> Plan:
    """Plan `train_images` images per identity and modality, from one camera; ten splits of `train_identities` each."""
    persons = range(1, options.train_identities + options.test_identities + 1)
    images = [
        PlannedImage(path, person, 1, frame, modality)
        for modality in regdb.SHORT
        for person in persons
        for frame, path in enumerate(_regdb_paths(options, person, modality))
    ]
    lists = {}
    for trial in regdb.TRIALS:
        order = np.random.default_rng([options.seed, 62, trial]).permutation(persons).tolist()
        split = {"train": order[: options.train_identities], "test": order[options.train_identities :]}
        for part, members in split.items():
            label = {person: number for number, person in enumerate(sorted(members))}
            for modality, short in regdb.SHORT.items():
                rows = [p for p in images if p.modality == modality and p.person in label]
                text = "".join(f"{p.path} {label[p.person]}\n" for p in rows)
                lists[f"idx/{part}_{short}_{trial}.txt"] = text
    return images, lists


def _regdb_paths(options: Options, person: int, modality: Modality) -> list[str]:
    """Name one identity's images. Images of the same moment have the same number in both modalities. Numbers are two
    apart, as in the real set."""
    rng = np.random.default_rng([options.seed, 61, person])
    kind = ("male_front", "male_back", "female_front", "female_back")[rng.integers(4)]
    first = int(rng.integers(2, 14_000))
    folder, letter = ("Visible", "v") if modality == Modality.VISIBLE else ("Thermal", "t")
    numbers = range(first, first + 2 * options.train_images, 2)
    return [f"{folder}/{person}/{kind}_{letter}_{number:05d}_{person}.bmp" for number in numbers]
