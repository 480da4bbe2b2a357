"""Plans the two sets of photos and sketches, whose layouts are shown in ffcv_convert/datasets/."""

from collections.abc import Sequence

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.datasets import market_sketch_1k
from ffcv_convert.synthetic.options import Options, Plan, PlannedImage

# Market-1501 has six cameras. Six artists could sketch 996 identities; Market-Sketch-1K has 4,701 sketches.
PHOTO_CAMERAS = 6
SKETCHED_SHARE = 4701 / (6 * 996)
PKU_ARTISTS = 5


def plan_market_sketch_1k(options: Options) -> Plan:
    """Plan `train_images` photos per training identity and `test_images` per test identity; one to six sketches of
    each, with at least one by each artist for training and one for testing."""
    images = []
    trained = options.train_identities
    everyone = range(1, trained + options.test_identities + 1)
    artists = _artists(options.seed, everyone[:trained]) | _artists(options.seed, everyone[trained:])
    for person in everyone:
        trains = person <= trained
        folder = market_sketch_1k.FOLDERS["train" if trains else "test"]
        for frame in range(options.train_images if trains else options.test_images):
            camera = (person + frame) % PHOTO_CAMERAS + 1
            sequence, number = np.random.default_rng([options.seed, 63, person, frame]).integers((1, 1), (7, 100_000))
            path = f"photo/{folder}/{person:04d}_c{camera}s{sequence}_{number:06d}_{frame + 1:02d}.jpg"
            # Some real photos are stored in grey; here two are.
            grey = frame == 0 and person in (1, trained + 1)
            images.append(PlannedImage(path, person, camera, frame, Modality.VISIBLE, grey))
        for style in artists[person]:
            path = f"sketch/{market_sketch_1k.STYLES[style - 1]}/{folder}/{person:04d}.jpg"
            images.append(PlannedImage(path, person, style, 0, Modality.SKETCH))
    return images, {}


def _artists(seed: int, persons: Sequence[int]) -> dict[int, list[int]]:
    """Choose the artists, from 1, who sketch each identity. An artist without a sketch gets the last identity."""
    artists = {}
    for person in persons:
        chance = np.random.default_rng([seed, 64, person]).random(len(market_sketch_1k.STYLES))
        drawn = np.flatnonzero(chance < max(SKETCHED_SHARE, chance.min() + 1e-9))
        artists[person] = (drawn + 1).tolist()
    idle = set(range(1, len(market_sketch_1k.STYLES) + 1)).difference(*artists.values())
    artists[persons[-1]] = sorted({*artists[persons[-1]], *idle})
    return artists


def plan_pku_sketch(options: Options) -> Plan:
    """Plan one sketch and two photos per identity, for any numbers of images in the options; five artists in turn."""
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
