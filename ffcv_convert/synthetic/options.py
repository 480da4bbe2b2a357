"""What can be asked for, and what a plan of it consists of."""

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
}
MAX_MARKET_IDENTITIES = 9999


@dataclass(frozen=True)
class Options:
    """Identities and pictures. Training: `train_images` an identity and modality, cameras by turns; testing:
    `test_images` an identity, modality and camera. What a layout makes of them otherwise, its plan says.

    official_size: as many identities and pictures as the real set has; the four numbers then count for nothing.
    Raises DataError for numbers that are too small, an unknown layout, or an official size that is not known.
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
            raise DataError(f"synthetic people: no layout {self.layout!r}. Name one of {', '.join(FOLDERS)}")
        if self.official_size and self.layout != "sysu":
            raise DataError(
                f"synthetic people: no official size is known for {self.layout}. Say --layout sysu, or leave "
                "--official-size out and give the numbers of identities and images"
            )
        # Of SYSU-MM01's training identities some are in val_id.txt, and neither list is empty.
        least = {"seed": 0, "height_px": MIN_HEIGHT_PX, "train_identities": 2 if self.layout == "sysu" else 1}
        for name, value in asdict(self).items():
            if name not in ("layout", "official_size") and value < least.get(name, 1):
                raise DataError(f"synthetic people: {name} = {value} is too small")
        if self.layout == "market_sketch_1k" and self.train_identities + self.test_identities > MAX_MARKET_IDENTITIES:
            raise DataError(
                f"synthetic people: market_sketch_1k holds {MAX_MARKET_IDENTITIES} identities at most, as its file "
                "names begin with four digits. Ask for fewer"
            )


@dataclass(frozen=True)
class Picture:
    """One file of a set, `path` relative to its root. `grey_file`: stored with one channel instead of three."""

    path: str
    person: int
    camera: int
    frame: int
    modality: Modality
    grey_file: bool = False


# The pictures, and the lists beside them: path relative to the root -> text.
Plan = tuple[list[Picture], dict[str, str]]
