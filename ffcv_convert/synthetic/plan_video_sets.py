"""Plans the two sets of video, whose layouts are shown in ffcv_convert/datasets/: each tracklet shows one walk."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.datasets import buptcampus, hitsz_vcm
from ffcv_convert.synthetic.options import Options, Plan, PlannedImage

HITSZ_CAMERAS = 12
HITSZ_FRAMES, BUPT_FRAMES = 24, 111  # of a tracklet: HITSZ-VCM's longest, BUPTCampus's mean
HITSZ_STEP = 5  # HITSZ-VCM keeps every fifth frame of its videos
AUXILIARY_SHARE = 930 / 1074  # auxiliary identities for each training identity of BUPTCampus
AUXILIARY_FRAMES = 112 / 371  # frames of one, for each of a training identity's


class Piece(NamedTuple):
    """A tracklet to draw. walk: its number in its camera, from 1; begin: how many frames of the camera precede it."""

    camera: int
    walk: int
    begin: int
    frames: int


def plan_hitsz_vcm(options: Options) -> Plan:
    """Plan `train_images` frames of each training identity and modality, in cameras in turn, and `test_images` of each
    test identity, modality and camera. All infrared test tracklets are queries."""
    images: list[PlannedImage] = []
    lists: dict[str, str] = {}
    for split, persons in _splits(options).items():
        names: list[str] = []
        tracks: list[str] = []
        queries: list[str] = []
        for person in persons:
            walks: dict[int, int] = defaultdict(int)  # tracklets of each camera, in both modalities
            for modality in (Modality.INFRARED, Modality.VISIBLE):
                code = {kind: code for code, kind in hitsz_vcm.MODALITIES.items()}[modality]
                for camera, _, begin, frames in _pieces(options, split, person, modality, HITSZ_CAMERAS, HITSZ_FRAMES):
                    walks[camera] += 1
                    tracks.append(f"{code} {len(names) + 1} {len(names) + frames} {person:04d} {camera}")
                    queries += [str(len(tracks))] if modality == Modality.INFRARED else []
                    for frame in range(begin, begin + frames):
                        number = 1 + HITSZ_STEP * frame
                        folder = f"{hitsz_vcm.TOPS[split]}/{person:04d}/{hitsz_vcm.FOLDERS[modality]}/D{camera}"
                        path = f"{folder}/{number}.jpg"
                        images.append(PlannedImage(path, person, camera, frame, modality, walk=walks[camera]))
                        names.append(f"{person:04d}M{code}D{camera}T{walks[camera]}F{number}.jpg")
        lists[f"info/{split}_name.txt"] = "\n".join(names) + "\n"
        lists[f"info/track_{split}_info.txt"] = "\n".join(tracks) + "\n"
        if split == "test":
            lists["info/query_IDX.txt"] = " ".join(queries) + "\n"
    return images, lists


def plan_buptcampus(options: Options) -> Plan:
    """Plan pairs of tracklets that show one walk in both modalities: `train_images` frames of each training identity,
    in cameras in turn, and `test_images` of each test identity and camera. One tracklet of each test identity is a
    query, in turn visible and infrared, and those of its other cameras are the gallery. Auxiliary identities come on
    top, one camera each."""
    images: list[PlannedImage] = []
    paths: dict[str, Any] = {}
    lists = {name: "" for names in buptcampus.LISTS.values() for name in names}

    def add(name: str, person: int, piece: Piece, words: str) -> None:
        camera = buptcampus.CAMERAS[piece.camera - 1]
        lists[name] += f"{person} {words} {camera} {piece.walk}\n"
        first = int(np.random.default_rng([options.seed, 69, person, piece.camera]).integers(1, 10_000))
        for word in buptcampus.WORDS[words]:
            own = paths.setdefault(str(person), {}).setdefault(word, {}).setdefault(camera, {})
            own[str(piece.walk)] = []
            for frame in range(piece.begin, piece.begin + piece.frames):
                path = f"{person}/{word}/{camera}/{person}_{word}_{camera}_{piece.walk}_{first + frame}.jpg"
                own[str(piece.walk)].append(path)
                modality = buptcampus.MODALITIES[word]
                images.append(
                    PlannedImage(f"DATA/{path}", person, piece.camera, frame, modality, walk=piece.walk)
                )  # fmt: skip

    for split, persons in _splits(options).items():
        for person in persons:
            pieces = list(_pieces(options, split, person, None, len(buptcampus.CAMERAS), BUPT_FRAMES))
            for piece in pieces:
                if split == "train":
                    add("train.txt", person, piece, "RGB/IR")
                elif piece.camera != pieces[0].camera:
                    add("gallery.txt", person, piece, "RGB")
                    add("gallery.txt", person, piece, "IR")
                elif piece.walk == 1:
                    add("query.txt", person, piece, ("RGB", "IR")[person % 2])
    known = options.train_identities + options.test_identities
    for person in range(known + 1, known + 1 + max(1, round(AUXILIARY_SHARE * options.train_identities))):
        frames = max(1, round(AUXILIARY_FRAMES * options.train_images))
        add("train_auxiliary.txt", person, Piece(person % len(buptcampus.CAMERAS) + 1, 1, 0, frames), "RGB/IR")
    return images, {**lists, buptcampus.PATHS: json.dumps(paths)}


def _splits(options: Options) -> dict[str, range]:
    known = options.train_identities + options.test_identities
    return {"train": range(1, options.train_identities + 1), "test": range(options.train_identities + 1, known + 1)}


def _pieces(
    options: Options, split: str, person: int, modality: Modality | None, cameras: int, longest: int
) -> Iterator[Piece]:
    """Yield an identity's tracklets in the order of its cameras, which is drawn. In training they are of similar
    length, at most `longest` frames, and two if that leaves each four frames. modality: None for both at once."""
    turns = 1 + np.random.default_rng([options.seed, 68, person, modality or 0]).permutation(cameras)
    if split == "test":
        for camera in turns.tolist():
            for walk, begin in enumerate(range(0, options.test_images, longest), start=1):
                yield Piece(camera, walk, begin, min(longest, options.test_images - begin))
        return
    count = max(1, min(2, options.train_images // 4), -(-options.train_images // longest))
    seen: dict[int, int] = defaultdict(int)  # frames of each camera so far
    for number, share in enumerate(np.array_split(np.arange(options.train_images), count)):
        camera = int(turns[number % cameras])
        yield Piece(camera, number // cameras + 1, seen[camera], len(share))
        seen[camera] += len(share)
