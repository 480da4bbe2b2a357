"""The benchmark of video at tiny size: both encodings, every epoch's rate and memory, and what the table says."""

from dataclasses import replace
from pathlib import Path

from benchmarks import page, video
from ffcv_convert.beton import open_beton


def test_both_encodings_are_loaded_by_tracklet_and_their_memory_is_told(tmp_path: Path) -> None:
    drawn = replace(video.SET, train_identities=7, train_images=30, height_px=32)
    sets = video.make_sets(tmp_path, drawn, (32, 16))
    content = {encoding: video.load(beton, 3) for encoding, beton in sets.items()}
    for one in content.values():
        assert one["frames"] == 2 * 7 * 30
        assert one["images_a_batch"] == 48
        assert one["batches_an_epoch"] == 7 * 2 // (6 * 2)  # two tracklets of 15 frames an identity and modality
        assert len(one["batches_per_s"]) == len(one["memory_mb"]) == 3
        assert min(one["batches_per_s"]) > 0
        assert 10 < one["memory_mb"][-1] < 10_000
    assert [open_beton(sets[name] / "train.beton").manifest.encoding for name in sets] == ["raw", "jpeg"]
    shown = video.table(content)
    assert shown.count("420 frames") == 2
    assert "after epoch 3" in shown
    assert page.BY_NAME["video"] is video


def test_the_real_size_is_a_hundred_thousand_frames_and_epochs_that_see_them() -> None:
    frames = video.SET.train_identities * video.SET.train_images * 2
    assert frames == 100_000
    tracklets = video.SET.train_identities * -(-video.SET.train_images // 24)
    assert video.EPOCHS * (tracklets // 12) * 48 >= frames


def test_without_a_folder_it_explains_itself(capsys) -> None:
    assert video.main([]) == 2
    assert "benchmarks.video FOLDER" in capsys.readouterr().out
