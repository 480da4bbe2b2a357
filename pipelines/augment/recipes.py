"""Defines the published augmentation recipes, and the columns of the drawn parameters.

Order, probabilities and ranges are those of the published code. Every image gets its own random parameters; with two
views of an image, each view does.
"""

from dataclasses import dataclass

from pipelines.augment.normalisation import IMAGENET, Colour, Normalisation

FILL = (0.4914, 0.4822, 0.4465)  # DNS fills both erasings with it; the second writes it after normalising, as published
GREY = (0.2989, 0.5870, 0.1140)
LUMINANCE = (19595.0, 38470.0, 7471.0)  # Pillow's integer grey: (19595 R + 38470 G + 7471 B + 32768) >> 16

# Columns of the parameters, float32 (rows, COLUMNS).
CROP_TOP, CROP_LEFT, FLIP, HUE = 0, 1, 2, 3  # the crop's offset from the image itself: negative ones reach the border
ERASE, CHANNEL_ERASE = 4, 8  # top, left, height, width; a height of 0 erases nothing
EXCHANGE = 12  # 0 keeps the image; 1, 2, 3 set all channels to R, G, B; 4 to grey
GREYED = 13  # 1 sets all channels of the uint8 pixels to their luminance, before everything else
COLUMNS = 14


@dataclass(frozen=True)
class Erasing:
    """A rectangle that is filled with a colour, with probability 1/2.

    area: share of the image, uniform; ratio: height / width, uniform, or if `logarithmic` its logarithm is. The first
    of `attempts` draws that fits is taken. fill: R, G, B, in the numbers of the pixels that it is written into.
    """

    area: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    logarithmic: bool = False
    attempts: int = 100
    fill: Colour = FILL


@dataclass(frozen=True)
class Exchange:
    """With `probability`, all channels become one of `choices`, each as likely: 1 R, 2 G, 3 B, 4 grey."""

    choices: tuple[int, ...]
    probability: float = 2 / 3


@dataclass(frozen=True)
class ModalityRecipe:
    """What one modality, or one view of it, gets besides crop, flip and normalisation.

    erase: before normalising, by the recipe's `erasing`. hue: half-width of the uniform hue shift, in turns.
    channel_erase: after normalising, by the recipe's `channel_erasing`. grey: luminance with probability 1/2.
    """

    erase: bool = False
    hue: float = 0.0
    channel_erase: bool = False
    exchange: Exchange | None = None
    grey: bool = False


@dataclass(frozen=True)
class Recipe:
    """second: what a second view of each visible image gets; None: there is one view. pad_px: black border of the crop.

    normalisation: of the weights that training starts from.

    Steps: grey, crop and flip, hue, `erasing`, normalise, `channel_erasing`, exchange.
    """

    visible: ModalityRecipe
    other: ModalityRecipe
    second: ModalityRecipe | None = None
    pad_px: int = 10
    erasing: Erasing = Erasing((0.02, 0.33), (0.3, 3.3), logarithmic=True, attempts=10)  # torchvision's RandomErasing
    channel_erasing: Erasing = Erasing()
    normalisation: Normalisation = IMAGENET

    @property
    def views(self) -> int:
        """Return how many views of each visible image a batch has."""
        return 1 if self.second is None else 2

    @property
    def fills(self) -> tuple[Colour, Colour]:
        """Return the colours of `erasing` and of `channel_erasing` in the numbers of normalised pixels."""
        return self.normalisation.of(self.erasing.fill), self.channel_erasing.fill


RGB, RGB_GREY = Exchange((1, 2, 3)), Exchange((1, 2, 3, 4))
_PLAIN, _ERASE, _CHANNEL_ERASE = ModalityRecipe(), ModalityRecipe(erase=True), ModalityRecipe(channel_erase=True)
_GREY = ModalityRecipe(grey=True, channel_erase=True)

# DNS's recipes have the names of their sets. Those of other methods have the method's; where its sets differ, one set's
# recipe has the set's name too, and the other sets share the one without.
RECIPES = {
    "sysu": Recipe(
        ModalityRecipe(erase=True, channel_erase=True, exchange=RGB_GREY),
        ModalityRecipe(erase=True, hue=0.5, channel_erase=True),
    ),
    "llcm": Recipe(ModalityRecipe(channel_erase=True, exchange=RGB), ModalityRecipe(hue=0.5, channel_erase=True)),
    "regdb": Recipe(ModalityRecipe(erase=True, exchange=RGB), _ERASE),
    "market_sketch_1k": Recipe(ModalityRecipe(erase=True, exchange=RGB), _ERASE),
    "pku_sketch": Recipe(_PLAIN, _PLAIN),
    "agw": Recipe(_PLAIN, _PLAIN),  # Ye et al., TPAMI
    # AGW as the authors of LLCM ran it: 0 is written after normalising, the mean colour.
    "agw-llcm-code": Recipe(_CHANNEL_ERASE, _CHANNEL_ERASE, channel_erasing=Erasing(fill=(0.0, 0.0, 0.0))),
    # Ye et al., ICCV 2021. The second view always shows one channel, for which the first is kept. Infrared images are
    # given R, G, B with 1/4 each, grey with 1/8, and kept with 1/8.
    "caj": Recipe(
        _CHANNEL_ERASE,
        ModalityRecipe(channel_erase=True, exchange=Exchange((1, 1, 2, 2, 3, 3, 4), probability=7 / 8)),
        second=ModalityRecipe(channel_erase=True, exchange=Exchange((1, 2, 3), probability=1.0)),
    ),
    # Zhang and Wang, CVPR 2023. The mean of ImageNet's pixels is written after normalising, as published, where it is
    # not the mean colour.
    "deen-sysu": Recipe(_GREY, _GREY, channel_erasing=Erasing(area=(0.2, 0.8), fill=IMAGENET.mean)),
    "deen": Recipe(_GREY, _GREY, channel_erasing=Erasing(fill=IMAGENET.mean)),
    "baseline-sysu": Recipe(_ERASE, _ERASE),  # DNS's own baseline
    "baseline": Recipe(_PLAIN, _PLAIN),
}


def blocks(recipe: Recipe, images: int) -> list[tuple[ModalityRecipe, slice, slice]]:
    """Return the blocks of a batch of 2PK images [visible, infrared]: the recipe of each, the PK images that it shows,
    and its PK rows of parameters. Two views make three blocks, [visible, its second view, infrared]."""
    half = images // 2
    visible, other = slice(0, half), slice(half, images)
    if recipe.second is None:
        return [(recipe.visible, visible, visible), (recipe.other, other, other)]
    return [
        (recipe.visible, visible, visible),
        (recipe.second, visible, slice(half, images)),
        (recipe.other, other, slice(images, images + half)),
    ]
