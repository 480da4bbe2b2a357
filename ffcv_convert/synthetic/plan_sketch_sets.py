"""The layouts of the two sets of photos and sketches, shown in ffcv_convert/datasets/."""

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.datasets import market_sketch_1k
from ffcv_convert.synthetic.options import Options, Plan, PlannedImage

# Market-1501 has six cameras. Six artists could sketch 996 identities; Market-Sketch-1K has 4,701 sketches.
PHOTO_CAMERAS = 6
SKETCHED_SHARE = 4701 / (6 * 996)
PKU_ARTISTS = 5


def plan_market_sketch_1k(options: Options) -> Plan:
    """`train_images` photos per training identity, `test_images` per test identity; one to six sketches each."""
    images = []
    for person in range(1, options.train_identities + options.test_identities + 1):
        trains = person <= options.train_identities
        folder = market_sketch_1k.FOLDERS["train" if trains else "test"]
        for frame in range(options.train_images if trains else options.test_images):
            camera = (person + frame) % PHOTO_CAMERAS + 1
            sequence, number = np.random.default_rng([options.seed, 63, person, frame]).integers((1, 1), (7, 100_000))
            path = f"photo/{folder}/{person:04d}_c{camera}s{sequence}_{number:06d}_{frame + 1:02d}.jpg"
            # Some real photos are stored in grey; here two are.
            grey = frame == 0 and person in (1, options.train_identities + 1)
            images.append(PlannedImage(path, person, camera, frame, Modality.VISIBLE, grey))
        for style in _styles(options.seed, person):
            path = f"sketch/{market_sketch_1k.STYLES[style - 1]}/{folder}/{person:04d}.jpg"
            images.append(PlannedImage(path, person, style, 0, Modality.SKETCH))
    return images, {}


def _styles(seed: int, person: int) -> list[int]:
    """The artists, numbered from 1, who sketched this identity."""
    chance = np.random.default_rng([seed, 64, person]).random(len(market_sketch_1k.STYLES))
    drawn = np.flatnonzero(chance < max(SKETCHED_SHARE, chance.min() + 1e-9))
    return (drawn + 1).tolist()


def plan_pku_sketch(options: Options) -> Plan:
    """One sketch and two photos per identity, whatever the numbers of images; five artists in turn."""
    images: list[PlannedImage] = []
    lines = {"train": "", "test": ""}
    for person in range(1, options.train_identities + options.test_identities + 1):
        part = "train" if person <= options.train_identities else "test"
        artist = person % PKU_ARTISTS + 1
        numbers = np.random.default_rng([options.seed, 65, person]).integers(1, 1000, size=2)
        trio = [PlannedImage(f"sketch/{person}.jpg", person, artist, 0, Modality.SKETCH)] + [
            PlannedImage(f"photo/{person}_{camera:02d}_{number}.jpg", person, camera, 0, Modality.VISIBLE)
            for camera, number in enumerate(numbers, start=1)
        ]
        for image in trio:
            kind = 1 if image.modality == Modality.SKETCH else 2
            lines[part] += f"{len(images)} {person} {kind} {image.path}\n"
            images.append(image)
    return images, {f"trainPKUList_{part}.txt": text for part, text in lines.items()}
