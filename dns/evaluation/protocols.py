"""Defines the published test protocols, by name: which queries search which gallery.

                     query       gallery of a trial              trials  excluded for a query            CMC on
sysu-all             infrared    one of each (id, camera)          10    camera 2, if its own is 3       identities
sysu-indoor          infrared    the same, cameras 1 and 2         10    camera 2, if its own is 3       identities
  ...-multi                      up to ten of each (id, camera)
  ...-official                   drawn by exp/rand_perm_cam.mat, as the converter found it
llcm-i2v             infrared    one of each (id, camera)          10    same identity and same camera   identities
llcm-v2i             visible     one of each (id, camera)          10    same identity and same camera   identities
llcm-v2i-transposed  i2v's gallery searches for i2v's queries      10    same identity and same camera   identities
llcm-v2i-deen        v2i's gallery searches for v2i's queries      10    same identity and same camera   identities
regdb-t2v, -v2t      infrared, visible    all of the other          1    nothing                         images
mask1k, pku          sketch      all photos                         1    nothing                         images
mask1k-multi         the mean of an identity's sketches             1    nothing                         images
vcm-i2v, bupt-i2v    infrared query tracklets                       1    vcm: same identity and camera   tracklets
vcm-v2i              i2v's gallery searches for i2v's queries       1    same identity and same camera   tracklets
bupt-v2i             visible query tracklets                        1    nothing                         tracklets
  ...-published, ...-all-frames        which frames stand for a tracklet, see tracklets.py

RegDB's ten trials are ten models on ten splits; the caller puts their results together. What papers call LLCM's v2i is
llcm-v2i in the published DNS. The published test scripts of DEEN, and of AGW for LLCM, swap the modalities and then
transpose the distances, so that drawn infrared images search all visible ones: llcm-v2i-deen. Which one a number is of,
only its authors can say. Draws are those of the published code: `random.seed(trial)`, identities ascending, their
cameras ascending, files by name, `random.choice` in each folder.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dns.evaluation.metrics import CMC
from dns.evaluation.tracklets import Role, TrackletMean, at_equal_steps, first_of_parts
from dns.evaluation.trial import Excluded, TestSet, Trial, camera_2_for_camera_3, same_person_and_camera
from ffcv_convert.beton.labels import ENOUGH_MATCHED, SHOTS, TRIALS, UNKNOWN_CAMERA, Modality
from ffcv_convert.common.errors import ProtocolError

VISIBLE, INFRARED, SKETCH = Modality


@dataclass(frozen=True)
class Protocol:
    """How a set is tested. query and gallery: modalities. shots: images of each (identity, camera) in a gallery, 0 for
    all images, only those of `cameras` if any are given. excluded: what does not count. official: take the draws of the
    test set. transposed: the gallery searches for the queries. tracklet: ranks those that the set's lists name, each by
    this mean."""

    name: str
    query: Modality
    gallery: Modality
    cmc: CMC = "images"
    shots: int = 0
    cameras: tuple[int, ...] = ()
    excluded: Excluded | None = None
    official: bool = False
    transposed: bool = False
    mean_query: bool = False
    tracklet: TrackletMean | None = None

    def queries(self, test: TestSet) -> np.ndarray:
        """Return the queries' rows of the test set, by identity, camera and name; of tracklets, in the order of the
        set's lists."""
        return self._pool(test, self.query, "query")

    def galleries(self, test: TestSet) -> list[np.ndarray]:
        """Return the gallery's rows, one array a trial. Raises ProtocolError where the set lacks the official draw."""
        pool = self._pool(test, self.gallery, "gallery")
        if self.cameras:
            pool = pool[np.isin(test.camera_N[pool], self.cameras)]
        if not self.shots:
            return [pool]
        if not self.official:
            return [_draw(test.folders(pool), self.shots, trial) for trial in range(TRIALS)]
        names = [f"official-{trial + 1}" for trial in range(TRIALS)]
        missing = [name for name in names if name not in test.draws]
        if missing:
            raise ProtocolError(
                f"{self.name}: the set was converted without the official draw ({missing[0]} is missing). Put "
                "rand_perm_cam.mat into its exp/ folder and convert it again, or take the protocol without -official"
            )
        drawn = [test.draws[name] for name in names]
        return [_preferred(test.folders(rows[np.isin(rows, pool)]), self.shots) for rows in drawn]

    def trials(self, test: TestSet, numbers: Sequence[int] | None = None) -> list[Trial]:
        """Return the trials with these numbers, or all of them. Raises ProtocolError, see galleries."""
        queries, galleries = self.queries(test), self.galleries(test)
        chosen = range(len(galleries)) if numbers is None else numbers
        found = []
        for number in chosen:
            query, gallery = (galleries[number], queries) if self.transposed else (queries, galleries[number])
            found.append(
                Trial(self.name, number, query, gallery, self.excluded, self.cmc, self.mean_query, self.tracklet)
            )
        return found

    def rows(self, test: TestSet, trials: Sequence[int] | None = None) -> np.ndarray:
        """Return the rows of the test set that these trials (None: all) rank or average, ascending."""
        return np.unique(np.concatenate([trial.rows(test) for trial in self.trials(test, trials)]))

    def check(self, test: TestSet) -> None:
        """Raise ProtocolError where the test set lacks images or draws that the protocol needs."""
        self.queries(test)
        self.galleries(test)

    def _pool(self, test: TestSet, modality: Modality, role: Role) -> np.ndarray:
        if self.tracklet is None:
            return self._of_modality(test, modality)
        if test.tracklets is None:
            raise ProtocolError(
                f"{self.name}: ranks tracklets, and the test set holds none. Choose another protocol, or "
                "convert the set: its tracklets stand in the manifest"
            )
        found = self.tracklet.chosen(test.tracklets, modality, role)
        if not found.size:
            long = f" of {self.tracklet.shortest} frames or more" if self.tracklet.shortest > 1 else ""
            raise ProtocolError(
                f"{self.name}: the set's lists name no {modality.name.lower()} {role} tracklet{long}. Choose another "
                "protocol"
            )
        return found

    def _of_modality(self, test: TestSet, modality: Modality) -> np.ndarray:
        chosen = np.flatnonzero(test.modality_N == modality)
        if not chosen.size:
            raise ProtocolError(
                f"{self.name}: the test set holds no {modality.name.lower()} image. Choose another protocol"
            )
        rows = sorted((test.person_N[n], test.camera_N[n], test.path_N[n], n) for n in chosen.tolist())
        return np.array([row[-1] for row in rows], dtype=np.int64)


def _sysu() -> list[Protocol]:
    return [
        Protocol(
            f"sysu-{search}{'-official' if official else ''}{'-multi' if shots > 1 else ''}",
            query=INFRARED, gallery=VISIBLE, cmc="identities", shots=shots, cameras=cameras,
            excluded=camera_2_for_camera_3, official=official,
        )
        for search, cameras in (("all", (1, 2, 4, 5)), ("indoor", (1, 2)))
        for official in (False, True)
        for shots in (1, SHOTS)
    ]  # fmt: skip


def _llcm(name: str, query: Modality, gallery: Modality, *, transposed: bool = False) -> Protocol:
    return Protocol(name, query, gallery, "identities", 1, excluded=same_person_and_camera, transposed=transposed)


def _video() -> list[Protocol]:
    six, ten = TrackletMean(partial(first_of_parts, parts=6), 12), TrackletMean(partial(at_equal_steps, frames=10))
    found = []
    for name, vcm, bupt in (("published", six, ten), ("all-frames", TrackletMean(), TrackletMean())):
        one_camera = Protocol(f"vcm-i2v-{name}", INFRARED, VISIBLE, excluded=same_person_and_camera, tracklet=vcm)
        found += [
            one_camera,
            replace(one_camera, name=f"vcm-v2i-{name}", transposed=True),
            Protocol(f"bupt-i2v-{name}", INFRARED, VISIBLE, tracklet=bupt),
            Protocol(f"bupt-v2i-{name}", VISIBLE, INFRARED, tracklet=bupt),
        ]
    return found


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        *_sysu(),
        Protocol("regdb-t2v", INFRARED, VISIBLE),
        Protocol("regdb-v2t", VISIBLE, INFRARED),
        _llcm("llcm-i2v", INFRARED, VISIBLE),
        _llcm("llcm-v2i", VISIBLE, INFRARED),
        _llcm("llcm-v2i-transposed", INFRARED, VISIBLE, transposed=True),
        _llcm("llcm-v2i-deen", VISIBLE, INFRARED, transposed=True),
        Protocol("mask1k", SKETCH, VISIBLE),
        Protocol("mask1k-multi", SKETCH, VISIBLE, mean_query=True),
        Protocol("pku", SKETCH, VISIBLE),
        *_video(),
    )
}


def fitting(test: TestSet) -> list[str]:
    """Return the protocols for a set of one's own: sketches search all photos; infrared and visible images search each
    other, as in LLCM if ENOUGH_MATCHED of the queries with a match have one in another camera, in both directions, else
    as in RegDB. Raises ProtocolError without a modality."""
    modalities = set(test.modality_N.tolist())
    if VISIBLE not in modalities or len(modalities) == 1:
        raise ProtocolError("the test set needs visible images, and infrared images or sketches. Complete it")
    sketches = ["pku"] if SKETCH in modalities else []
    if INFRARED not in modalities:
        return sketches
    pair = (INFRARED, VISIBLE)
    change = min(_in_another_camera(test, *way) for way in (pair, pair[::-1])) >= ENOUGH_MATCHED
    return [*(["llcm-i2v", "llcm-v2i"] if change else ["regdb-t2v", "regdb-v2t"]), *sketches]


def _in_another_camera(test: TestSet, query: Modality, gallery: Modality) -> float:
    """Return the share of queries with a match in another known camera, among those with a match; 0 without any."""
    seen = {modality: _sightings(test, modality) for modality in (query, gallery)}
    cameras: dict[int, set[int]] = {}
    for person, camera in seen[gallery]:
        cameras.setdefault(person, set()).add(camera)
    matched = {(person, camera): count for (person, camera), count in seen[query].items() if person in cameras}
    changed = [
        count
        for (person, camera), count in matched.items()
        if camera != UNKNOWN_CAMERA and cameras[person] - {camera, UNKNOWN_CAMERA}
    ]
    return sum(changed) / max(sum(matched.values()), 1)


def _sightings(test: TestSet, modality: Modality) -> Counter[tuple[int, int]]:
    """Count the images of each (identity, camera) in this modality."""
    rows = test.modality_N == modality
    return Counter(zip(test.person_N[rows].tolist(), test.camera_N[rows].tolist(), strict=True))


def _draw(folders: Sequence[Sequence[int]], shots: int, trial: int) -> np.ndarray:
    generator = random.Random(trial)
    if shots == 1:
        return np.array([generator.choice(folder) for folder in folders], dtype=np.int64)
    drawn = [generator.sample(folder, min(shots, len(folder))) for folder in folders]
    return np.array([row for rows in drawn for row in rows], dtype=np.int64)


def _preferred(folders: Sequence[Sequence[int]], shots: int) -> np.ndarray:
    return np.array([row for folder in folders for row in folder[:shots]], dtype=np.int64)
