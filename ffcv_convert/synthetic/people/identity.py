"""Draws synthetic identities: what stays the same in every image of one identity.

(seed, identity) gives three independent random streams: form (body, clothes, patterns, things carried), visible
colours, and infrared reflectances. Dyes hardly matter in the near infrared, so a part's colour says nothing about its
infrared grey, and a pattern's contrast may even be reversed. The modalities share only the form.

All lengths are in body heights (1.0 from the sole to the crown).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]

PATTERNS = (
    "plain",
    "horizontal stripes",
    "vertical stripes",
    "checks",
    "dots",
    "diagonal band",
    "chest block",
    "chest band",
    "two-tone",
    "side panels",
)
PATTERN_SHARE = (0.12, 0.14, 0.11, 0.11, 0.09, 0.09, 0.08, 0.08, 0.1, 0.08)
SKIRT_PATTERNS = ("plain", "horizontal stripes", "vertical stripes", "checks", "dots", "hem band")
TROUSER_PATTERNS = ("plain", "side stripe", "hem band", "knee patch")
HAIR = ("short", "bald", "bob", "long", "ponytail", "bun", "afro")
HEADWEAR = ("none", "cap", "beanie", "brimmed hat", "hood")
LOWER = ("trousers", "wide trousers", "shorts", "skirt", "long skirt")
HAND_ITEMS = ("none", "handbag", "shopping bag", "suitcase", "umbrella")


@dataclass(frozen=True)
class Cloth:
    """A two-toned pattern. `offset` (0..1) moves it or sets its slant; `duty` is the second tone's share."""

    pattern: str
    period: float
    offset: float
    duty: float


@dataclass(frozen=True)
class Palette:
    """The colour of each part in one modality; infrared has R = G = B."""

    skin: Colour
    hair: Colour
    upper: Colour
    upper_second: Colour
    lower: Colour
    lower_second: Colour
    shoes: Colour
    bag: Colour
    bag_second: Colour
    headwear: Colour
    trim: Colour


@dataclass(frozen=True)
class Identity:
    """The form and palettes of one identity. Sides are -1 (the body's right) or +1 (left)."""

    build: float
    shoulder_half: float
    hip_half: float
    leg_length: float
    head_height: float
    hair: str
    headwear: str
    upper_cloth: Cloth
    sleeve: str
    contrast_sleeve: bool
    hem_drop: float
    coat: bool
    trim_bands: int
    lower: str
    lower_cloth: Cloth
    boots: bool
    backpack: float
    strap_bag: float
    strap_side: int
    hand_item: str
    hand_side: int
    item_size: float
    visible: Palette
    infrared: Palette


@lru_cache(maxsize=8192)
def draw_identity(seed: int, identity: int) -> Identity:
    """Draw identity number `identity` of the population `seed`."""
    rng = np.random.default_rng([seed, 11, identity])
    visible = _visible_palette(np.random.default_rng([seed, 12, identity]))
    infrared = _infrared_palette(np.random.default_rng([seed, 13, identity]))
    build = float(rng.uniform(0.82, 1.28))
    coat = bool(rng.random() < 0.16)
    lower = _choice(rng, LOWER, (0.4, 0.14, 0.17, 0.18, 0.11))
    luggage = rng.random()
    return Identity(
        build=build,
        shoulder_half=float(rng.uniform(0.098, 0.128)) * build**0.5,
        hip_half=float(rng.uniform(0.078, 0.108)) * build**0.8,
        leg_length=float(rng.uniform(0.45, 0.54)),
        head_height=float(rng.uniform(0.122, 0.152)),
        hair=_choice(rng, HAIR, (0.3, 0.07, 0.14, 0.18, 0.13, 0.09, 0.09)),
        headwear=_choice(rng, HEADWEAR, (0.58, 0.13, 0.1, 0.09, 0.1)),
        upper_cloth=_cloth(rng, _choice(rng, PATTERNS, PATTERN_SHARE)),
        sleeve="long" if coat else _choice(rng, ("long", "short"), (0.55, 0.45)),
        contrast_sleeve=bool(rng.random() < 0.25),
        hem_drop=float(rng.uniform(0.2, 0.27) if coat else rng.uniform(-0.01, 0.1)),
        coat=coat,
        trim_bands=int(rng.choice(3, p=(0.8, 0.1, 0.1))),
        lower=lower,
        lower_cloth=_lower_cloth(rng, lower),
        boots=bool(rng.random() < 0.25),
        backpack=float(rng.uniform(0.85, 1.3)) if luggage < 0.3 else 0.0,
        strap_bag=float(rng.uniform(0.85, 1.35)) if 0.3 <= luggage < 0.6 else 0.0,
        strap_side=int(rng.choice((-1, 1))),
        hand_item=_choice(rng, HAND_ITEMS, (0.52, 0.14, 0.13, 0.12, 0.09)),
        hand_side=int(rng.choice((-1, 1))),
        item_size=float(rng.uniform(0.85, 1.25)),
        visible=visible,
        infrared=infrared,
    )


def _choice(rng: np.random.Generator, names: tuple[str, ...], share: tuple[float, ...]) -> str:
    return names[int(rng.choice(len(names), p=share))]


def _cloth(rng: np.random.Generator, pattern: str) -> Cloth:
    """Draw a two-toned pattern. Its finest period, 1/17 of the body height, takes 5 px in an image 96 px high."""
    period, offset, duty = rng.uniform((0.058, 0.0, 0.35), (0.12, 1.0, 0.6))
    return Cloth(pattern, float(period), float(offset), float(duty))


def _lower_cloth(rng: np.random.Generator, lower: str) -> Cloth:
    if lower in ("skirt", "long skirt"):
        return _cloth(rng, _choice(rng, SKIRT_PATTERNS, (0.4, 0.12, 0.12, 0.12, 0.12, 0.12)))
    return _cloth(rng, _choice(rng, TROUSER_PATTERNS, (0.61, 0.15, 0.12, 0.12)))


def _tone_pair(rng: np.random.Generator, least: float, most: float) -> tuple[float, float]:
    """Draw two luminances, `least` to `most` apart; which one is darker is random."""
    half = rng.uniform(least, most) / 2 * rng.choice((-1, 1))
    centre = rng.uniform(28 + abs(half), 222 - abs(half))
    return centre - half, centre + half


def _coloured(rng: np.random.Generator, luminance: float, chroma: float) -> Colour:
    """Draw a random hue of about the given Rec. 601 luminance; `chroma` is the largest difference from grey."""
    direction = rng.normal(size=3)
    direction -= direction @ np.array([0.299, 0.587, 0.114])
    # Most clothes are dull; the square makes bright hues rare.
    direction *= chroma * (0.12 + 0.88 * rng.random() ** 2) / np.abs(direction).max()
    return _whole(np.clip(luminance + direction, 6, 248))


def _whole(colour: np.ndarray) -> Colour:
    red, green, blue = colour.astype(int).tolist()
    return red, green, blue


def _visible_palette(rng: np.random.Generator) -> Palette:
    skin = rng.uniform(0.42, 1.0) * np.array([236, 192, 166])
    hair = np.array([(24, 20, 20), (46, 32, 24), (84, 56, 36), (150, 120, 76), (140, 138, 136)])
    upper, upper_second = _tone_pair(rng, 60, 120)
    lower, lower_second = _tone_pair(rng, 55, 110)
    bag, bag_second = _tone_pair(rng, 45, 100)
    return Palette(
        skin=_whole(skin),
        hair=_whole(hair[rng.choice(5, p=(0.34, 0.26, 0.2, 0.12, 0.08))]),
        upper=_coloured(rng, upper, 85),
        upper_second=_coloured(rng, upper_second, 85),
        lower=_coloured(rng, lower, 50),
        lower_second=_coloured(rng, lower_second, 60),
        shoes=_coloured(rng, rng.uniform(20, 210), 25),
        bag=_coloured(rng, bag, 75),
        bag_second=_coloured(rng, bag_second, 75),
        headwear=_coloured(rng, rng.uniform(25, 215), 80),
        trim=_coloured(rng, rng.choice((225, 30)), 20),
    )


def _infrared_palette(rng: np.random.Generator) -> Palette:
    """Draw reflectances under an infrared lamp: bright skin, mostly dark hair, any cloth."""
    upper, upper_second = _tone_pair(rng, 45, 110)
    lower, lower_second = _tone_pair(rng, 45, 100)
    bag, bag_second = _tone_pair(rng, 35, 90)
    greys = (
        rng.uniform(176, 222),
        rng.uniform(36, 108),
        *(upper, upper_second, lower, lower_second),
        rng.uniform(25, 200),
        *(bag, bag_second),
        rng.uniform(30, 205),
        rng.choice((240, 35)),
    )
    return Palette(*((int(grey), int(grey), int(grey)) for grey in greys))
