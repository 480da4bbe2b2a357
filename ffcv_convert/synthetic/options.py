"""Defines the options of a synthetic set, and the types of its plan."""

from dataclasses import asdict, dataclass

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.synthetic.people.shot import MIN_HEIGHT_PX

# Layout -> the folder below DATA_ROOT that `convert` looks for.
FOLDERS = {
    "llcm": "synthetic",
    "sysu": "SYSU-MM01",
    "regdb": "RegDB",
    "market_sketch_1k": "Market-Sketch-1K",
    "pku_sketch": "PKU-Sketch",
    "hitsz_vcm": "HITSZ-VCM",
    "buptcampus": "BUPTCampus",
}
MAX_MARKET_IDENTITIES = 9999
# The command line's help for the numbers in Options.
HELP = {
    "train_identities": "identities to train on",
    "test_identities": "identities to test on",
    "train_images": "images of each training identity and modality",
    "test_images": "images of each test identity, modality and camera",
    "height_px": "mean height of the images, which are about half as wide",
    "seed": "another seed draws other people",
}


@dataclass(frozen=True)
class Options:
    """Numbers of identities and images. Training: `train_images` per identity and modality, cameras in turn. Testing:
    `test_images` per identity, modality and camera. Each layout's plan documents its exceptions.

    official_size: use the real set's numbers of identities and images; the four options are then ignored.
    Raises DataError for numbers that are too small, an unknown layout, or one whose official size is unknown.
    """

    train_identities: int = 320
    test_identities: int = 16
    train_images: int = 9
    test_images: int = 2
    height_px: int = 288
    seed: int = 0
    layout: str = "llcm"
    official_size: bool = False

    def __post_init__(self) -> None:
        if self.layout not in FOLDERS:
            raise DataError(f"synthetic people: unknown layout {self.layout!r}. Choose one of {', '.join(FOLDERS)}")
        if self.official_size and self.layout != "sysu":
            raise DataError(
                f"synthetic people: the official size of {self.layout} is not known. Use --layout sysu, or leave "
                "out --official-size and give the numbers of identities and images"
            )
        # SYSU-MM01 has training identities in two lists, train_id.txt and val_id.txt, and neither may be empty.
        least = {"seed": 0, "height_px": MIN_HEIGHT_PX, "train_identities": 2 if self.layout == "sysu" else 1}
        for name, value in asdict(self).items():
            if name not in ("layout", "official_size") and value < least.get(name, 1):
                raise DataError(f"synthetic people: {name} = {value} is too small. Use at least {least.get(name, 1)}")
        if self.layout == "market_sketch_1k" and self.train_identities + self.test_identities > MAX_MARKET_IDENTITIES:
            raise DataError(
                f"synthetic people: market_sketch_1k has at most {MAX_MARKET_IDENTITIES} identities, because its file "
                "names begin with four digits. Use fewer"
            )


@dataclass(frozen=True)
class PlannedImage:
    """One image to draw; `path` is relative to the set's root. `grey_file`: store one channel instead of three. `walk`:
    see `people.draw_person`."""

    path: str
    person: int
    camera: int
    frame: int
    modality: Modality
    grey_file: bool = False
    walk: int | None = None


# A plan has the images, and the list files: path relative to the root -> text.
Plan = tuple[list[PlannedImage], dict[str, str]]
