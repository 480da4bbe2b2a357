"""The page in headless Chromium: images are dropped on it, and it ranks as Python does. Needs Debian's chromium."""

import base64
import csv
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from dns.demo import __main__ as command
from dns.demo.onnxruntime_web import onnxruntime_web
from dns.demo.serve import server
from dns.training.setup import Opened, open_checkpoint
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.images import ImageFormat, load_image
from tests.conftest import MadeOnce
from tests.support.browser import PATIENCE_S, Browser, browser, needs_chromium
from tests.support.png_files import exif, write_kinds

pytestmark = [pytest.mark.slow, needs_chromium]
CLOSE = 2e-4  # images whose similarities differ by less may change places
READY = "document.getElementById('status').textContent.startsWith('Ready')"
PROBLEM = "document.getElementById('problems').textContent"


class Shown(NamedTuple):
    """The page in a browser. opened: the checkpoint that its networks are of; address: host and port."""

    browser: Browser
    opened: Opened
    address: str


@pytest.fixture(scope="module")
def real_runtime(made_once: MadeOnce) -> Path:
    """A folder with the files of onnxruntime-web."""

    def fetch(folder: Path) -> None:
        for name, content in onnxruntime_web(None).items():
            (folder / name).write_bytes(content)

    try:
        return made_once("onnxruntime-web", fetch)
    except ConfigError as error:
        pytest.skip(f"onnxruntime-web cannot be had: {error}")


@pytest.fixture(scope="module")
def shown(
    real_runtime: Path, small_run: Path, export: Path, beton_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shown]:
    """The page of a checkpoint, ready for infrared images. Its export lies beside it, which takes seconds to make."""
    checkpoint = Path(shutil.copy(small_run / "last.pt", tmp_path_factory.mktemp("run")))
    shutil.copytree(export, checkpoint.with_name("last-float32"))
    given = [f"--beton-root={beton_root}", f"--onnxruntime-web={real_runtime}"]
    assert command.main([str(checkpoint), *given]) == 0
    folder = checkpoint.parent / "demo"
    # The export computes in fp32, whatever this processor does by itself.
    precise = "--engine.precision=fp32"
    opened = open_checkpoint(small_run / "last.pt", f"--data.beton_root={beton_root}", precise)
    with server(folder, 0) as serving, browser(tmp_path_factory.mktemp("profile")) as tab:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{serving.server_port}"
        tab.open(f"http://{address}/")
        tab.wait(READY)
        yield Shown(tab, opened, address)
        serving.shutdown()


def lists(tab: Browser) -> int:
    return tab.evaluate("document.querySelectorAll('.query').length")


def drop(tab: Browser, *files: Path) -> None:
    """Drop the files, and wait until the page has ranked each of them."""
    wanted = lists(tab) + len(files)
    tab.drop(*files)
    tab.wait(f"document.querySelectorAll('.query').length === {wanted} || {PROBLEM}")
    assert tab.evaluate(PROBLEM) == ""


def ranking(tab: Browser, folder: Path) -> list[dict[str, str]]:
    """Return the latest ranking, whole, as the page's link saves it."""
    folder.mkdir(exist_ok=True)
    before = set(folder.glob("*.csv"))
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    tab.evaluate("document.querySelector('.query a[download]').click()")
    end = time.monotonic() + PATIENCE_S
    while not (new := {path for path in folder.glob("*.csv") if path.stat().st_size} - before):  # empty at first
        assert time.monotonic() < end, "nothing was saved"
        time.sleep(0.02)
    return list(csv.DictReader(new.pop().read_text().splitlines()))


def similarities(opened: Opened, query: int, modality: Modality) -> dict[str, float]:
    """Return path -> similarity of every test image of a modality, by the network in PyTorch. An export adds no
    mirrored images."""
    embeddings = opened.evaluator.embed(opened.model, flip="off")
    embedding_ND = embeddings.compared(opened.config.method.feature).double().numpy()
    embedding_ND /= np.linalg.norm(embedding_ND, axis=1, keepdims=True)
    test = opened.evaluator.test_set
    rows = np.flatnonzero(test.modality_N == modality)
    return {test.path_N[row]: float(embedding_ND[row] @ embedding_ND[query]) for row in rows}


def test_ten_infrared_images_are_ranked_as_python_does(shown: Shown, data_root: Path, tmp_path: Path) -> None:
    tab, opened, _ = shown
    test = opened.evaluator.test_set
    queries = np.flatnonzero(test.modality_N == Modality.INFRARED)[::3][:10]
    assert len(queries) == 10
    swapped = 0
    for query in queries:
        drop(tab, data_root / "synthetic" / test.path_N[query])
        found = ranking(tab, tmp_path / "saved")
        expected = similarities(opened, query, Modality.VISIBLE)
        assert sorted(line["image"] for line in found) == sorted(expected)
        ours = np.array([expected[line["image"]] for line in found])
        np.testing.assert_allclose([float(line["similarity"]) for line in found], ours, atol=CLOSE)
        later = np.maximum.accumulate(ours[::-1])[::-1]  # the largest similarity from a rank on
        assert (later - ours < CLOSE).all()
        swapped += int((ours != np.sort(ours)[::-1]).sum())
    print(f"{swapped} images stand at another rank than in Python, of {len(queries) * len(found)}")


def test_images_are_chosen_as_well_and_the_other_modality_searches(
    shown: Shown, data_root: Path, tmp_path: Path
) -> None:
    tab, opened, _ = shown
    test = opened.evaluator.test_set
    query = int(np.flatnonzero(test.modality_N == Modality.VISIBLE)[1])
    tab.evaluate("document.querySelector('input[value=visible]').click()")
    tab.wait("document.getElementById('status').textContent === 'Ready for visible images.'")
    before = lists(tab)
    tab.choose(data_root / "synthetic" / test.path_N[query])
    tab.wait(f"document.querySelectorAll('.query').length === {before + 1}")
    found, expected = ranking(tab, tmp_path), similarities(opened, query, Modality.INFRARED)
    assert found[0]["image"] == max(expected, key=lambda path: expected[path])
    shown_first = tab.evaluate("document.querySelector('.cell:not(.asked)').innerText").split()
    assert shown_first[:3] == ["1", "identity", found[0]["identity"]]
    assert found[0]["strangers (people)"] in tab.evaluate(
        "document.querySelector('.query p b:nth-of-type(2)').innerText"
    )
    tab.evaluate("document.querySelector('input[value=infrared]').click()")
    tab.wait(READY)


def test_it_asks_nobody_else_and_complains_of_nothing(shown: Shown, data_root: Path) -> None:
    """Of all that the tests before this one did; and the policy keeps a request to another host in."""
    tab, opened, address = shown
    drop(tab, data_root / "synthetic" / opened.evaluator.test_set.path_N[0])
    assert tab.hosts() <= {address, "blob", "data"}
    assert address in tab.hosts()
    assert tab.complaints() == []
    refused = "fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => 'refused')"
    assert tab.evaluate(refused) == "refused"
    assert tab.evaluate("fetch('demo.json').then((answer) => answer.status)") == 200
    assert "Content Security Policy" in " ".join(tab.complaints())
    tab.events.clear()


FOREIGN = {"notes.txt": b"rank,image", "cut.jpg": None, "cut.png": None, "empty.png": b""}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_or_damaged_file_gets_a_message(name: str, shown: Shown, data_root: Path, tmp_path: Path) -> None:
    tab, opened, _ = shown
    whole = (data_root / "synthetic" / opened.evaluator.test_set.path_N[0]).read_bytes()
    content = FOREIGN[name]
    if content is None:
        whole = whole if name.endswith("jpg") else write_kinds(tmp_path)[0].read_bytes()
        content = whole[: len(whole) * 2 // 3]
    (tmp_path / name).write_bytes(content)
    before = lists(tab)
    tab.drop(tmp_path / name)
    tab.wait(PROBLEM)
    assert tab.evaluate(PROBLEM).startswith(f"{name}: ")
    assert tab.evaluate("document.querySelector('[role=alert]').innerText").rstrip().endswith(".")
    assert lists(tab) == before
    drop(tab, data_root / "synthetic" / opened.evaluator.test_set.path_N[0])  # takes the message away


READ = """(async (text) => {
  const { readImage } = await import("./image.js");
  const { resize } = await import("./lanczos.js");
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const pixels = resize(await readImage(new File([bytes], "a name")), 96, 48);
  return btoa(Array.from(pixels, (one) => String.fromCharCode(one)).join(""));
})"""


def read(tab: Browser, path: Path) -> np.ndarray:
    """Return what the page's own modules make of a file."""
    found = tab.evaluate(f"{READ}('{base64.b64encode(path.read_bytes()).decode()}')")
    return np.frombuffer(base64.b64decode(found), np.uint8).reshape(96, 48, 3)


def test_png_files_are_read_to_conversion_s_bytes(shown: Shown, tmp_path: Path) -> None:
    for path in write_kinds(tmp_path, seed=1):
        assert np.array_equal(read(shown.browser, path), load_image(path, ImageFormat(96, 48)).pixels), path.name


def test_jpeg_files_are_upright_and_hardly_differ(shown: Shown, data_root: Path, tmp_path: Path) -> None:
    """Chromium 156 decodes them to Pillow's bytes; another version may round otherwise."""
    image = Image.open(data_root / "synthetic" / shown.opened.evaluator.test_set.path_N[0])
    image = image.resize((71, 133))
    options = [{"quality": q, "subsampling": s, "progressive": s == 1} for q in (60, 90) for s in (0, 1, 2)]
    options += [{"exif": exif(orientation), "quality": 90} for orientation in range(1, 9)]
    worst = 0
    for number, one in enumerate(options):
        image.save(tmp_path / f"{number}.jpg", **one)
        expected = load_image(tmp_path / f"{number}.jpg", ImageFormat(96, 48)).pixels.astype(int)
        worst = max(worst, int(np.abs(read(shown.browser, tmp_path / f"{number}.jpg") - expected).max()))
    print(f"JPEG: at most {worst} grey levels of difference in {len(options)} files")
    assert worst <= 3
    image.save(tmp_path / "one.bmp")
    assert np.array_equal(
        read(shown.browser, tmp_path / "one.bmp"), load_image(tmp_path / "one.bmp", ImageFormat(96, 48)).pixels
    )


def test_it_fits_a_narrow_screen_and_every_control_has_a_name(shown: Shown, data_root: Path) -> None:
    tab = shown.browser
    drop(tab, data_root / "synthetic" / shown.opened.evaluator.test_set.path_N[0])
    tab.picture(400, 800)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"radio", "button", "link", "image", "DisclosureTriangle"}
    named = [(node["role"]["value"], node.get("name", {}).get("value")) for node in tree if not node.get("ignored")]
    controls = [(role, name) for role, name in named if role in roles]
    assert {"radio", "button", "image"} <= {role for role, _ in controls}
    assert all(name for _, name in controls), controls
    tab.evaluate("document.querySelector('input[type=radio]').focus()")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert tab.evaluate("document.activeElement.id") == "file"
    assert tab.evaluate("getComputedStyle(document.querySelector('.drop')).outlineStyle") == "solid"
