"""Defines the published augmentation recipe of each data set, and the columns of the drawn parameters.

Order, probabilities and ranges are those of the published code. Every image gets its own random parameters.
"""

from dataclasses import dataclass

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (0.4914, 0.4822, 0.4465)  # fill value of both erasings; the second writes it after normalising, as published
GREY = (0.2989, 0.5870, 0.1140)
# For pixels of 0 to 255: pixel * SCALE - SHIFT equals (pixel / 255 - MEAN) / STD.
SCALE, SHIFT = tuple(1 / (255 * std) for std in STD), tuple(mean / std for mean, std in zip(MEAN, STD, strict=True))
NORMALISED_FILL = tuple((fill - mean) / std for fill, mean, std in zip(FILL, MEAN, STD, strict=True))

# Columns of the parameters, float32 (B, COLUMNS).
CROP_TOP, CROP_LEFT, FLIP, HUE = 0, 1, 2, 3  # the crop's offset from the image itself: negative ones reach the border
ERASE, CHANNEL_ERASE = 4, 8  # top, left, height, width; a height of 0 erases nothing
EXCHANGE = 12  # 0 keeps the image; 1, 2, 3 set all channels to R, G, B; 4 to grey
COLUMNS = 13


@dataclass(frozen=True)
class ModalityRecipe:
    """What one modality gets besides crop, flip and normalisation.

    hue: half-width of the uniform hue shift, in turns. exchange: 0 off; 2 R, G or B; 3 also grey (probability 2/3).
    """

    erase: bool = False
    hue: float = 0.0
    channel_erase: bool = False
    exchange: int = 0


@dataclass(frozen=True)
class Recipe:
    visible: ModalityRecipe
    other: ModalityRecipe
    pad_px: int = 10


_ERASE = ModalityRecipe(erase=True)
RECIPES = {
    "sysu": Recipe(
        ModalityRecipe(erase=True, channel_erase=True, exchange=3),
        ModalityRecipe(erase=True, hue=0.5, channel_erase=True),
    ),
    "llcm": Recipe(ModalityRecipe(channel_erase=True, exchange=2), ModalityRecipe(hue=0.5, channel_erase=True)),
    "regdb": Recipe(ModalityRecipe(erase=True, exchange=2), _ERASE),
    "market_sketch_1k": Recipe(ModalityRecipe(erase=True, exchange=2), _ERASE),
    "pku_sketch": Recipe(ModalityRecipe(), ModalityRecipe()),
}


def halves(recipe: Recipe, batch: int) -> tuple[tuple[ModalityRecipe, slice], tuple[ModalityRecipe, slice]]:
    return (recipe.visible, slice(0, batch // 2)), (recipe.other, slice(batch // 2, batch))
