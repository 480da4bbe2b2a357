"""Write a page that searches a test set in the browser, without a server that computes.

    python -m dns.demo runs/synthetic-seed0/best.pt --serve
    make demo CHECKPOINT=runs/synthetic-seed0/best.pt          # the same

CHECKPOINT is a checkpoint, which is exported first (python -m dns.export), or a folder that was exported. Options with
a point in their names, such as --model.method=agw, are those of the export. The page takes an image of either modality
and ranks the test images of the other one; nothing is uploaded. docs/demo.md says more.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dns.demo.exported import Exported, open_networks
from dns.demo.folder import check_folder, write_folder
from dns.demo.gallery import embed, modalities
from dns.demo.onnxruntime_web import onnxruntime_web
from dns.demo.serve import LOOPBACK, serve, server
from dns.judge.subject import converted, open_images
from dns.report.write import is_drawn
from dns.training.checkpoint import load_to_test
from dns.training.selection import check_training
from ffcv_convert.beton.labels import STYLES
from ffcv_convert.common.errors import ConfigError, user_errors
from ffcv_convert.common.streams import lasting_streams
from pipelines.data import training_digest

PORT = 8000


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.demo", description=description, epilog=more,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint, or a folder of exported networks"
    )
    top.add_argument("--folder", type=Path, help="where the page goes; by default demo/ beside the checkpoint")
    top.add_argument("--dataset", type=str.lower, help="whose test images; by default the set of the checkpoint")
    top.add_argument("--beton-root", type=Path, default=Path("Beton"), help="folder that holds the converted sets")
    top.add_argument("--trial", type=int, help="RegDB's split, 1 to 10")
    top.add_argument(
        "--images", choices=["true", "false"],
        help="whether the page shows the test images; by default only where a program drew the people",
    )  # fmt: skip
    top.add_argument(
        "--onnxruntime-web", type=Path, metavar="FOLDER", help="where its files lie; by default npm fetches them"
    )
    top.add_argument("--serve", action="store_true", help="serve the page on this machine until Ctrl-C")
    top.add_argument("--port", type=int, default=PORT, help="of --serve; 0: any that is free")
    return top


def main(arguments: Sequence[str]) -> int:
    options, more = parser().parse_known_args(arguments)
    if unknown := [word for word in more if "." not in word.partition("=")[0]]:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    folder = options.folder or options.checkpoint.absolute().parent / "demo"
    check_folder(folder)
    if options.serve:  # a port that is taken stops here, before the work begins
        server(folder, options.port).server_close()
    runtime = onnxruntime_web(options.onnxruntime_web)
    more += [f"--data.trial={options.trial}"] * bool(options.trial and not options.checkpoint.is_dir())
    exported = open_networks(options.checkpoint, more, options.beton_root, options.dataset)
    set_name = options.dataset or exported.checkpoint["dataset"]
    place, trial = (
        converted(options.beton_root, set_name, exported.size_px),
        trial_of(exported, options.trial, set_name),
    )
    images = open_images(place, trial)
    modalities(exported, images)
    training = training_digest(place, trial=trial or 0, styles=STYLES)
    check_training(exported.folder, load_to_test(exported.folder), set_name, training)
    shown = options.images == "true" if options.images else is_drawn(images.manifest.dataset)
    write_folder(folder, exported, embed(exported, images, thumbnails=shown), runtime, set_name)
    files = [path for path in folder.rglob("*") if path.is_file()]
    print(f"written: {folder} ({len(files):,} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB)")
    if not shown and options.images is None:
        print("note: the page shows numbers of identities. Where the terms of the images allow it: --images=true")
    if options.serve:
        serve(folder, options.port)
    else:
        print(f"to open it: python -m http.server --bind {LOOPBACK} --directory '{folder}' {PORT}")
        print(f"then http://{LOOPBACK}:{PORT}/")
    return 0


def trial_of(exported: Exported, asked: int | None, set_name: str) -> int | None:
    """Return the split to search in: the network's own, where it says one. Raises ConfigError for another one of the
    same set, whose test people the network may have seen."""
    trained = exported.checkpoint["config"].get("data", {}).get("trial")  # a published one does not say
    if asked and trained and asked != trained and set_name == exported.checkpoint["dataset"]:
        raise ConfigError(
            f"--trial={asked}: {exported.folder} was trained on split {trained}, and may have seen the people of "
            "another one. Leave --trial (make TRIAL=) out"
        )
    return asked or trained


if __name__ == "__main__":
    with lasting_streams(), user_errors("stopped"):
        sys.exit(main(sys.argv[1:]))
