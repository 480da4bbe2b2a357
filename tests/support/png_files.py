"""Writes PNG files of every kind that Pillow reads with 8 bits a channel, and of kinds that it only reads."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def png(samples: np.ndarray, kind: int, depth: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """Return a PNG file, whose rows take the five filters in turn. samples: (H, W, channels) below 2^depth; kind: the
    colour type."""
    high, wide, _ = samples.shape
    header = wide.to_bytes(4, "big") + high.to_bytes(4, "big") + bytes([depth, kind, 0, 0, int(interlaced)])
    rows = b""
    for left, top, step_x, step_y in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = samples[top::step_y, left::step_x]
        if part.size:
            rows += b"".join(_filtered(part, depth))
    data = zlib.compress(rows)
    parts = [data[: len(data) // 2], data[len(data) // 2 :]]  # a file may cut its data anywhere
    content = b"".join(chunk(b"IDAT", part) for part in parts)
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(chunks) + content + chunk(b"IEND", b"")


def _filtered(samples: np.ndarray, depth: int) -> Iterator[bytes]:
    high, _, channels = samples.shape
    bits = (samples.reshape(high, -1)[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    packed = np.packbits(bits.reshape(high, -1).astype(np.uint8), axis=1).astype(int)
    back = max(1, channels * depth // 8)
    for y, row in enumerate(packed):
        above = packed[y - 1] if y else np.zeros_like(row)
        left, corner = (np.concatenate([np.zeros(back, int), one])[: len(row)] for one in (row, above))
        near = left + above - corner
        of_left, of_above, of_corner = (abs(near - one) for one in (left, above, corner))
        paeth = np.where(
            (of_left <= of_above) & (of_left <= of_corner), left, np.where(of_above <= of_corner, above, corner)
        )
        guess = (np.zeros_like(row), left, above, (left + above) // 2, paeth)[y % 5]
        yield bytes([y % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()


def exif(orientation: int) -> bytes:
    """Return EXIF that holds nothing but an orientation."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def write_kinds(folder: Path, seed: int = 0) -> list[Path]:
    """Write a file of each kind, of several sizes, and return their paths: grey, RGB, palette, with alpha, with a
    transparent colour or palette, of few bits, interlaced, with gamma, with an orientation."""
    rng = np.random.default_rng(seed)
    made: dict[str, bytes] = {}
    for kind, depths in {0: (1, 2, 4, 8), 2: (8,), 3: (1, 2, 4, 8), 4: (8,), 6: (8,)}.items():
        for depth in depths:
            high, wide = rng.integers(1, 90, 2).tolist()
            samples = rng.integers(0, 2**depth, (high, wide, CHANNELS[kind]))
            colours = chunk(b"PLTE", rng.bytes(3 * 2**depth)) if kind == 3 else b""
            name = f"{kind}-{depth}"
            made[name] = png(samples, kind, depth, colours)
            made[f"{name}-interlaced"] = png(samples, kind, depth, colours, interlaced=True)
            for at in (0, 2**depth - 1) if kind in (0, 2, 3) else ():
                key = samples[high // 2, wide // 2] if at == 0 else np.full(CHANNELS[kind], at)
                clear = rng.bytes(2**depth - at) if kind == 3 else key.astype(">u2").tobytes()
                made[f"{name}-clear{at}"] = png(samples, kind, depth, colours, chunk(b"tRNS", clear))
    rgb = rng.integers(0, 256, (40, 25, 3))
    for orientation in range(9):
        made[f"turned{orientation}"] = png(rgb, 2, 8, chunk(b"eXIf", exif(orientation)))
    made["damaged-exif"] = png(rgb, 2, 8, chunk(b"eXIf", exif(6)[:20]))
    made["gamma"] = png(rgb, 2, 8, chunk(b"gAMA", (100_000).to_bytes(4, "big")))
    made["large"] = png(rng.integers(0, 256, (700, 310, 4)), 6, 8)
    made["one-clear-entry"] = png(
        rng.integers(0, 4, (30, 30, 1)), 3, 8, chunk(b"PLTE", rng.bytes(12)), chunk(b"tRNS", b"\xff\x00\xff")
    )
    for name, content in made.items():
        (folder / f"{name}.png").write_bytes(content)
    return [folder / f"{name}.png" for name in made]
