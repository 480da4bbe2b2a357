"""python -m ffcv_convert convert | verify | synthesise | footage

convert     write a .beton file below BETON_ROOT for each raw data set below DATA_ROOT, unless it is up to date
verify      check counts, structure and checksums of .beton files; --deep also decodes every image
synthesise  draw synthetic people in the folder layout of one of the data sets
footage     put drawn people into frames of cameras, with a list of boxes, as a user's cameras deliver them
"""

import argparse
import difflib
import os
import signal
import sys
from pathlib import Path

from ffcv_convert import synthetic
from ffcv_convert.common.errors import DataError, IncompleteError, complain, printable, user_errors
from ffcv_convert.common.paths import expanded
from ffcv_convert.common.signals import unclaimed
from ffcv_convert.common.streams import lasting_streams
from ffcv_convert.convert import convert, image_format_for
from ffcv_convert.datasets import DATASETS
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.verify import verify
from ffcv_convert.video import selection_for


def parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0))
    top = argparse.ArgumentParser(prog="python -m ffcv_convert", description=__doc__.split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    command = commands.add_parser("convert", help="convert raw data sets to .beton files", formatter_class=_HELP)
    command.add_argument("--data-root", type=_path, default=Path("Dataset"), help="folder that holds the raw data sets")
    command.add_argument("--beton-root", type=_path, default=Path("Beton"), help="folder to write .beton files to")
    command.add_argument("--dataset", type=_dataset, default="all", help=_NAMES)
    command.add_argument("--height-px", type=_positive, help="stored height; default: as before, else the set's own")
    command.add_argument("--width-px", type=_positive, help="stored width; default: as before, else the set's own")
    command.add_argument("--encoding", choices=["raw", "jpeg"], help="jpeg takes a tenth of the disk, but is lossy")
    command.add_argument(
        "--every", type=_positive, help="of video: store one frame in so many; default: as before, or all"
    )
    command.add_argument("--auxiliary", action=argparse.BooleanOptionalAction, help="train on auxiliary identities too")
    command.add_argument("--workers", type=_positive, default=cores, help="threads")
    command.add_argument("--allow-incomplete", action="store_true", help="go on where a set lacks images")
    command.add_argument("--force", action="store_true", help="convert a set again even if it is up to date")
    command.set_defaults(run=run_convert)
    command = commands.add_parser("verify", help="check .beton files", formatter_class=_HELP)
    command.add_argument("--data-root", type=_path, default=Path("Dataset"), help="raw data sets, used by --deep")
    command.add_argument("--beton-root", type=_path, default=Path("Beton"), help="folder that holds the .beton files")
    command.add_argument("--dataset", type=_dataset, default="all", help=_NAMES)
    command.add_argument("--deep", action="store_true", help="decode every image, convert its source again and compare")
    command.add_argument("--strict", action="store_true", help="exit code 3 after a warning")
    command.add_argument("--workers", type=_positive, default=cores, help="threads")
    command.set_defaults(run=run_verify)
    command = commands.add_parser("synthesise", help="draw synthetic people", formatter_class=_HELP)
    command.add_argument("--layout", choices=list(synthetic.FOLDERS), default="llcm", help="data set to imitate")
    command.add_argument("--official-size", action="store_true", help="as many images as the real set has (sysu only)")
    command.add_argument("--root", type=_path, help=f"folder to create; default: {_ROOTS}")
    for name, help_text in synthetic.HELP.items():
        kind = int if name == "seed" else _positive
        default = getattr(synthetic.Options, name)
        command.add_argument("--" + name.replace("_", "-"), type=kind, default=default, help=help_text)
    command.add_argument("--workers", type=_positive, default=cores, help="processes")
    command.set_defaults(run=run_synthesise)
    command = commands.add_parser("footage", help="draw frames of cameras with people", formatter_class=_HELP)
    command.add_argument("--data-root", type=_path, default=Path("Dataset"), help="folder that holds the drawn set")
    command.add_argument("--to", type=_path, default=Path("Footage"), help="folder to create")
    command.set_defaults(run=run_footage)
    return top


_HELP = argparse.ArgumentDefaultsHelpFormatter
_NAMES = f"one of {', '.join(DATASETS)}; all: every set found"
_ROOTS = ", ".join(f"Dataset/{folder} ({layout})" for layout, folder in synthetic.FOLDERS.items())


def _path(text: str) -> Path:
    return Path(expanded(text))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _dataset(name: str) -> str:
    """Return the name of a data set in small letters. argparse's `choices` would begin its error with all options."""
    if name.lower() not in (*DATASETS, "all"):
        near = [dataset.name for dataset in DATASETS.values() if dataset.is_called(name)]
        near = near or difflib.get_close_matches(name.lower(), DATASETS, 1, 0.5)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(DATASETS)}; your own images are custom"
        raise DataError(f"{name}: no such data set. {hint}")
    return name.lower()


def run_convert(options: argparse.Namespace) -> None:
    """Convert one data set, or every one found. If one fails, the others are still converted."""
    if options.dataset != "all":
        return convert_one(DATASETS[options.dataset], options)
    root = options.data_root
    found = broken = incomplete = 0
    for dataset in DATASETS.values():
        try:
            if dataset.find(root) is None:
                say(f"{dataset.name}: not in {root}. {dataset.missing(root)}")
                continue
            found += 1
            convert_one(dataset, options)
        except IncompleteError as error:
            incomplete += 1
            complain(error)
        except (DataError, OSError) as error:
            broken += 1
            complain(error)
    if broken:
        raise DataError(f"{root}: data sets that could not be converted: {broken} of {found}, see above")
    if incomplete:
        raise IncompleteError(f"{root}: incomplete data sets: {incomplete} of {found}, see above")
    if not found:
        problem = f"holds none of {', '.join(DATASETS)}" if root.is_dir() else "no such folder"
        raise DataError(
            f"{root}: {problem}. Give each set its own folder there, or name another: --data-root, make DATA_ROOT=..."
        )


def convert_one(dataset: Dataset, options: argparse.Namespace) -> None:
    folder = options.beton_root / dataset.name
    needed = [folder / f"{part}.beton" for part in dataset.parts if part not in dataset.optional_parts]
    if dataset.find(options.data_root) is None and all(beton.exists() for beton in needed):
        say(f"{dataset.name}: not in {options.data_root}; {folder} is used as it is")
        return
    image_format = image_format_for(dataset, needed[0], options.height_px, options.width_px, options.encoding)
    fits = {name: getattr(options, name) for name in ("every", "auxiliary")}
    if options.dataset == "all":  # each set takes what fits it
        fits = {name: value if name in dataset.takes else None for name, value in fits.items()}
    selection = selection_for(dataset, needed[0], **fits)
    written = convert(
        dataset, options.data_root, options.beton_root, image_format, selection,
        workers=options.workers, allow_incomplete=options.allow_incomplete, force=options.force, say=say,
    )  # fmt: skip
    for beton, new in written.items():
        say(f"{beton}: {'written' if new else 'up to date'}, {image_format.height_px} x {image_format.width_px} px")


def run_verify(options: argparse.Namespace) -> None:
    """Check one data set, or every converted one. If one is damaged, the others are still checked."""
    there = [name for name in DATASETS if is_converted(options.beton_root / name)]
    names = there if options.dataset == "all" else [options.dataset]
    if not names:
        raise DataError(f"{options.beton_root}: no converted data set here. Convert first: make convert-datasets")
    damaged = warnings = 0
    for name in names:
        try:
            for line in verify(
                DATASETS[name], options.data_root, options.beton_root, deep=options.deep, workers=options.workers
            ):
                say(line)
                warnings += line.startswith("warning")
        except (DataError, OSError) as error:
            damaged += 1
            complain(error)
    if damaged:
        raise DataError(f"damaged data sets: {damaged} of {len(names)}, see above")
    if warnings and options.strict:
        raise IncompleteError(f"{options.beton_root}: {warnings} warnings, see above")


def is_converted(folder: Path) -> bool:
    """Whether the folder holds a `.beton` or a manifest. A failed first conversion leaves it empty."""
    try:
        return any(path.suffix in (".beton", ".json") for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # reading it will raise this error again, with a message
        return True


def run_synthesise(options: argparse.Namespace) -> None:
    values = {name: getattr(options, name) for name in synthetic.Options.__dataclass_fields__}
    root = options.root or Path("Dataset") / synthetic.FOLDERS[options.layout]
    count = synthetic.synthesise(root, synthetic.Options(**values), workers=options.workers)
    say(f"{root}: {f'{count} images drawn' if count else 'up to date'}")


def run_footage(options: argparse.Namespace) -> None:
    count = synthetic.draw_footage(options.data_root, options.to)
    say(f"{options.to}: {f'{count} frames drawn' if count else 'up to date'}")


def say(message: str) -> None:
    """Print a line to standard output, or a warning to standard error."""
    print(printable(message), file=sys.stderr if message.startswith("warning") else sys.stdout, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return 0. Raises SystemExit: 2 for bad input, 128 + the signal that stopped it."""
    with user_errors("stopped; no half-written file is left"):
        options = parser().parse_args(arguments)
        options.run(options)
    return 0


def _terminate(number: int, frame: object) -> None:
    """Let the other signals that stop a program clean up as Ctrl-C does."""
    raise KeyboardInterrupt(128 + number)


if __name__ == "__main__":
    for number in set(unclaimed()) - {signal.SIGINT}:
        signal.signal(number, _terminate)
    with lasting_streams():
        sys.exit(main())
