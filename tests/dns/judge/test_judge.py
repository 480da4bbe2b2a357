"""The whole program: equal numbers through judge and eval, claims, the published order, labels beside the features."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dns.evaluation.embedding import FEATURES, Embeddings, save_features
from dns.evaluation.protocols import INFRARED, PROTOCOLS, VISIBLE
from dns.evaluation.ranking import rank_trials
from dns.evaluation.tables import COLUMNS, make_row, ranked_row, table
from dns.evaluation.trial import TestSet
from dns.judge.__main__ import main
from dns.judge.conventions import COSINE, DOT, EUCLIDEAN, protocols_of
from dns.judge.features import Features
from dns.judge.orders import place, published_rows
from dns.judge.subject import open_subject
from ffcv_convert.common.errors import ConfigError, DataError
from tests.support.made_sets import random_set
from tests.support.read_page import read_page
from tests.support.refusals import refusal

Layout = Callable[[str], Path]
SETS = ("sysu", "regdb", "llcm", "market_sketch_1k", "pku_sketch")


def opened(folder: Path) -> TestSet:
    return open_subject(folder.name, folder.parent, [], None, 1).test


def drawn(test: TestSet, seed: int, *, unit: bool = True, width: int = 6) -> np.ndarray:
    """Features with some likeness within an identity, float32 (N, D)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(test.person_N.max() + 1, width))
    matrix = centres[test.person_N] + rng.normal(size=(len(test.person_N), width))
    if unit:
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix.astype(np.float32)


def save(path: Path, test: TestSet, matrix: np.ndarray, rows: Sequence[int] | None = None) -> Path:
    rows = list(range(len(matrix))) if rows is None else rows
    np.savez(path, features=matrix[rows], paths=np.array([test.path_N[row] for row in rows]))
    return path


def judged(folder: Path, out: Path, *arguments: object) -> list[dict]:
    trial = [] if folder.name != "regdb" or any("--trial" in str(word) for word in arguments) else ["--trial=1"]
    words = [f"--dataset={folder.name}", f"--beton-root={folder.parent}", f"--write={out}", *trial]
    assert main([*map(str, arguments), *words]) == 0
    return json.loads((out / "judge.json").read_text())["rows"]


@pytest.mark.parametrize("layout", SETS)
def test_judge_and_eval_give_equal_numbers(layout: str, converted_layout: Layout, tmp_path: Path) -> None:
    """Of a file that eval.export wrote; unit length and, as with flip, not."""
    folder = converted_layout(layout)
    test = opened(folder)
    for unit in (True, False):
        bn, z = (torch.from_numpy(drawn(test, seed, unit=unit)) for seed in (1, 2))
        exported = Embeddings(bn, z)
        compared = ["sum", "weighted"] if layout == "llcm" else ["bn", "z"]
        save_features(tmp_path / "export.npz", exported, test, compared)
        rows = judged(folder, tmp_path, tmp_path / "export.npz")
        measure = f"{COSINE}, {EUCLIDEAN}" if unit else DOT
        found = {(row["protocol"], row["feature"]): row for row in rows}
        names = [one.name for one in protocols_of(layout, test) if "official" not in one.name]
        assert {protocol for protocol, _ in found} == set(names)
        for name in names:
            for feature in dict.fromkeys(["bn", "z", *compared]):
                wanted = ranked_row(name, rank_trials(PROTOCOLS[name], test, exported.compared(feature)))
                row = found[name, f"{FEATURES[feature]}; {measure}"]
                assert {key: row[key] for key in wanted} == json.loads(json.dumps(wanted)), name


def test_names_decide_the_row(converted_layout: Layout, tmp_path: Path) -> None:
    """Shuffled rows, and names with other folders before them, change no number."""
    folder = converted_layout("llcm")
    test, out = opened(folder), tmp_path / "out"
    matrix = drawn(test, 3)
    np.save(tmp_path / "plain.npy", matrix)
    wanted = judged(folder, out, tmp_path / "plain.npy")
    order = np.random.default_rng(0).permutation(len(matrix))
    names = [f"/data/LLCM/{test.path_N[row]}" for row in order]
    np.savez(tmp_path / "named.npz", features=matrix[order], paths=np.array(names))
    found = judged(folder, out, tmp_path / "named.npz")
    assert [[row[name] for name in COLUMNS] for row in found] == [[row[name] for name in COLUMNS] for row in wanted]


def test_a_frame_of_two_tracklets_has_a_row_for_each(tmp_path: Path) -> None:
    labels = [np.array(column) for column in ([1, 1, 2], [1, 1, 1], [0, 0, 1])]
    test, matrix = TestSet(*labels, ["a/1.jpg", "a/2.jpg", "a/1.jpg"]), np.arange(6.0).reshape(3, 2)
    features = Features(tmp_path / "a.npz", {"Z": matrix}, ["a/2.jpg", "a/1.jpg", "a/1.jpg"])
    assert place(features, test).matrices["Z"].tolist() == matrix[[1, 0, 2]].tolist()
    once = Features(tmp_path / "a.npz", {"Z": matrix[:2]}, ["a/2.jpg", "a/1.jpg"])
    with refusal(DataError, tmp_path / "a.npz", "lacks 1", "a/1.jpg"):
        place(once, test)


def save_labels(path: Path, test: TestSet) -> str:
    words = ("visible", "infrared", "sketch")
    columns = zip(test.path_N, test.person_N, test.camera_N, test.modality_N, strict=True)
    lines = [f"{name},{person},{camera},{words[modality]}" for name, person, camera, modality in columns]
    path.write_text("\n".join(["path,identity,camera,modality", *lines]) + "\n")
    return f"--labels={path}"


SEEN = {
    "sysu": [(1, VISIBLE), (2, VISIBLE), (3, INFRARED), (4, VISIBLE), (5, VISIBLE), (6, INFRARED)],
    "llcm": [(camera, modality) for modality in (VISIBLE, INFRARED) for camera in (1, 2, 3)],
}


@pytest.mark.parametrize("protocol", ["llcm-i2v", "llcm-v2i", "llcm-v2i-deen", "sysu-all", "sysu-indoor-multi"])
def test_the_published_order_of_one_trial(protocol: str, tmp_path: Path) -> None:
    """As one file and as two, of drawn folders of up to four images: the row of that trial, and no other trial's."""
    family, number = protocol.partition("-")[0], 3
    random = random_set(SEEN[family], 5)
    test = TestSet(
        random.person_N, random.camera_N, random.modality_N, [f"{n}/{p}" for n, p in enumerate(random.path_N)]
    )
    matrix = drawn(test, 4)
    (trial,) = PROTOCOLS[protocol].trials(test, [number])
    save_parts(tmp_path, matrix, *published_rows(test, trial))
    files = [tmp_path / f"{name}.npy" for name in ("query", "gallery", "both")]
    order = ["--order=published", f"--protocol={protocol}", f"--trial={number}", save_labels(tmp_path / "l.csv", test)]
    rows = [row for row in judged(tmp_path / family, tmp_path, *files, *order) if row["protocol"] == protocol]
    assert [row["checkpoint"] for row in rows] == ["query.npy + gallery.npy", "both.npy"]
    held = set(trial.gallery_rows.tolist()) | set(trial.query_rows.tolist())
    trials = PROTOCOLS[protocol].trials(test)
    given = [one.number for one in trials if {*one.gallery_rows.tolist(), *one.query_rows.tolist()} <= held]
    assert given == [number] or protocol == "sysu-indoor-multi"  # no folder holds more than are drawn
    wanted = make_row(
        protocol, [one.metrics for one in rank_trials(PROTOCOLS[protocol], test, torch.from_numpy(matrix), given)]
    )
    assert all(row[name] == wanted[name] for row in rows for name in ("trials", *COLUMNS))
    left_out = {one["what"] for one in json.loads((tmp_path / "judge.json").read_text())["left_out"]}
    assert (f"{protocol}, 9 of 10 trials" in left_out) == (given == [number])


def save_parts(folder: Path, matrix: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> None:
    np.save(folder / "query.npy", matrix[query])
    np.save(folder / "gallery.npy", matrix[gallery])
    np.save(folder / "both.npy", matrix[np.concatenate([query, gallery])])


def test_the_published_order_of_regdb_is_that_of_its_lists(converted_layout: Layout, tmp_path: Path) -> None:
    folder = converted_layout("regdb")
    test = opened(folder)
    matrix = drawn(test, 4)
    query, gallery = (np.flatnonzero(test.modality_N == modality) for modality in (INFRARED, VISIBLE))
    save_parts(tmp_path, matrix, query, gallery)
    rows = judged(folder, tmp_path, tmp_path / "both.npy", "--order=published", "--trial=1")
    for row in rows:
        (wanted,) = rank_trials(PROTOCOLS[row["protocol"]], test, torch.from_numpy(matrix))
        assert (row["rank1"], row["mAP"]) == (wanted.metrics.cmc[0], wanted.metrics.mAP)


@pytest.mark.parametrize("layout", ["sysu", "llcm", "regdb"])
def test_a_claim_finds_the_convention_that_it_came_from(
    layout: str, converted_layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Numbers of each convention in turn, planted as a claim with two digits."""
    folder = converted_layout(layout)
    test = opened(folder)
    file = save(tmp_path / "method.npz", test, drawn(test, 5, unit=False))
    rows = judged(folder, tmp_path, file)
    for row in rows:
        claim = ",".join(f"{name}={100 * row[name]:.2f}" for name in COLUMNS)
        capsys.readouterr()
        judged(folder, tmp_path, file, f"--claim={claim}")
        printed = capsys.readouterr().out
        equal = [one for one in rows if all(f"{100 * one[n]:.2f}" == f"{100 * row[n]:.2f}" for n in COLUMNS)]
        assert printed.count("agrees with") == len(equal)
        assert f"agrees with {row['protocol']}, {row['feature']} (method.npz)" in printed
    judged(folder, tmp_path, file, "--claim=rank1=0.01")
    assert "agrees with no row. The nearest is " in capsys.readouterr().out


def test_labels_beside_the_features_replace_a_converted_set(converted_layout: Layout, tmp_path: Path) -> None:
    folder = converted_layout("llcm")
    test = opened(folder)
    matrix = drawn(test, 6)
    file = tmp_path / "own.npz"
    np.savez(
        file, features=matrix, paths=np.array(test.path_N), pids=test.person_N, camids=test.camera_N,
        modality=test.modality_N,
    )  # fmt: skip
    wanted = judged(folder, tmp_path, file)
    found = judged(tmp_path / "nowhere" / "llcm", tmp_path, file)
    assert [[row[name] for name in COLUMNS] for row in found] == [[row[name] for name in COLUMNS] for row in wanted]
    np.save(tmp_path / "bare.npy", matrix)
    labels = save_labels(tmp_path / "labels.csv", test)
    again = judged(tmp_path / "nowhere" / "llcm", tmp_path, tmp_path / "bare.npy", labels)
    assert [[row[name] for name in COLUMNS] for row in again] == [[row[name] for name in COLUMNS] for row in wanted]


def test_re_ranking_adds_rows(converted_layout: Layout, tmp_path: Path) -> None:
    folder = converted_layout("llcm")
    test = opened(folder)
    matrix = drawn(test, 7)
    rows = judged(folder, tmp_path, save(tmp_path / "a.npz", test, matrix), "--re-ranking")
    (row,) = [row for row in rows if row["protocol"] == "llcm-i2v" and row["re_ranking"] == "k-reciprocal"]
    wanted = rank_trials(PROTOCOLS["llcm-i2v"], test, torch.from_numpy(matrix), re_ranking=True)
    assert row["rank1"] == make_row("llcm-i2v", [one.metrics for one in wanted])["rank1"]


def test_two_files_are_compared_in_pairs(
    converted_layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The difference is that of the tables' figures; a file of other length counts by its cosine."""
    folder = converted_layout("llcm")
    test = opened(folder)
    good = save(tmp_path / "good.npz", test, drawn(test, 8))
    noise = np.random.default_rng(9).normal(size=(len(test.person_N), 6)).astype(np.float32)
    poor = save(tmp_path / "poor.npz", test, noise)
    rows = judged(folder, tmp_path, good, poor)
    compared = json.loads((tmp_path / "judge.json").read_text())["pairs"]
    assert [one["protocol"] for one in compared] == [one.name for one in protocols_of("llcm", test)]
    for one in compared:
        first, second = (
            next(row for row in rows if row["checkpoint"] == one[side] and COSINE in row["feature"]
                 and row["protocol"] == one["protocol"])
            for side in ("first", "second")
        )  # fmt: skip
        assert one["mAP"]["difference"] == pytest.approx(first["mAP"] - second["mAP"])
        assert one["mAP"]["low"] <= one["mAP"]["difference"] <= one["mAP"]["high"]
    assert "good.npz minus poor.npz" in capsys.readouterr().out
    assert "good.npz minus poor.npz" in (tmp_path / "judge.md").read_text()


def test_a_report_needs_no_network(converted_layout: Layout, tmp_path: Path) -> None:
    """It shows the table's numbers and all but the network's own sections; images by choice."""
    folder = converted_layout("sysu")
    test = opened(folder)
    file = save(tmp_path / "a.npz", test, drawn(test, 8, unit=False))
    out = tmp_path / "out"
    rows = judged(folder, out, file, "--report")
    page = read_page((out / "report.html").read_text())
    assert page.tables["All results"] == table(rows)
    found = {path.name for path in (out / "report").iterdir()}
    assert {"intervals.csv", "cmc.svg", "roc.csv", "queries.csv", "ranked-sysu-all.png"} <= found
    assert not {"speed.csv", "loss.csv"} & found
    assert "Where the network looks" not in page.text
    judged(folder, out, file, "--report", "--no-images")
    assert not (out / "report" / "ranked-sysu-all.png").exists()
    labels = save_labels(tmp_path / "labels.csv", test)
    judged(tmp_path / "nowhere" / "sysu", out, file, "--report", labels)
    assert "features; dot product" in read_page((out / "report.html").read_text()).text


def test_a_report_of_a_part_of_the_images_is_refused(tmp_path: Path) -> None:
    random = random_set(SEEN["llcm"], 5)
    test = TestSet(random.person_N, random.camera_N, random.modality_N, [f"0/{path}" for path in random.path_N])
    (trial,) = PROTOCOLS["llcm-i2v"].trials(test, [0])
    save_parts(tmp_path, drawn(test, 4), *published_rows(test, trial))
    labels = save_labels(tmp_path / "labels.csv", test)
    with refusal(ConfigError, "--report", "both.npy"):
        judged(tmp_path / "llcm", tmp_path, tmp_path / "both.npy", "--order=published", "--report", labels)
    with refusal(ConfigError, "--report", "--write"):
        main([str(tmp_path / "both.npy"), "--dataset=llcm", "--report"])
