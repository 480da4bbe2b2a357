"""Holds the mean and the deviation of pixels that published weights were trained with.

They belong to the weights: a network that starts from some sees pixels as those did.
"""

from typing import NamedTuple

Colour = tuple[float, float, float]


class Normalisation(NamedTuple):
    """(pixel / 255 - mean) / deviation, for R, G, B each; for pixels of 0 to 255: pixel * scale - shift."""

    mean: Colour
    deviation: Colour

    @property
    def scale(self) -> Colour:
        red, green, blue = (1 / (255 * deviation) for deviation in self.deviation)
        return red, green, blue

    @property
    def shift(self) -> Colour:
        red, green, blue = (mean / deviation for mean, deviation in zip(self.mean, self.deviation, strict=True))
        return red, green, blue

    def of(self, colour: Colour) -> Colour:
        """Return a colour of 0 to 1 as normalised numbers."""
        red, green, blue = (
            (value - mean) / deviation for value, mean, deviation in zip(colour, self.mean, self.deviation, strict=True)
        )
        return red, green, blue


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATIONS = {
    "imagenet": IMAGENET,
    "clip": Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),  # OpenAI's CLIP
    # LUPerson's (Fu et al., CVPR 2021): `lup` in DengpanFu/LUPerson, lup_moco/libs/transform.py and scripts/run_moco.sh
    "luperson": Normalisation((0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505)),
    "half": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # -1 to 1, as Google's vision transformers
}
