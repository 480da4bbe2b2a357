"""Takes the files of onnxruntime-web that the page loads: from npm, or from a folder. Both must have the known bytes.

They are onnxruntime-web's build for WebAssembly alone (MIT, Microsoft): the module with its loader, and the code.
"""

import hashlib
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ffcv_convert.common.errors import ConfigError, DataError, as_data_errors

VERSION = "1.30.0"
SHA256 = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
PACKAGE = f"onnxruntime-web@{VERSION}"
OTHERWISE = f"name a folder that holds {' and '.join(SHA256)} of version {VERSION}: --onnxruntime-web=FOLDER"
TIMEOUT_S = 600


def onnxruntime_web(folder: Path | None) -> Mapping[str, bytes]:
    """Return the files by name. folder: where they lie, or an unpacked package; None: npm fetches the package. Raises
    ConfigError where they cannot be had, DataError where they have other bytes."""
    files = _fetched() if folder is None else _lying_in(folder)
    for name, (source, content) in files.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise DataError(
                f"{source}: is not the {name} of {PACKAGE} (its SHA-256 differs). Fetch it again, or {OTHERWISE}"
            )
    return {name: content for name, (_, content) in files.items()}


def _lying_in(folder: Path) -> dict[str, tuple[str, bytes]]:
    places = [
        folder,
        folder / "dist",
        folder / "package" / "dist",
        folder / "node_modules" / "onnxruntime-web" / "dist",
    ]
    place = next((one for one in places if all((one / name).is_file() for name in SHA256)), None)
    if place is None:
        raise ConfigError(
            f"{folder}: does not hold {' and '.join(SHA256)}, nor does its dist/. For them, npm pack {PACKAGE}"
        )
    with as_data_errors():
        return {name: (str(place / name), (place / name).read_bytes()) for name in SHA256}


def _fetched() -> dict[str, tuple[str, bytes]]:
    """Let npm fetch the package into a folder for the moment; npm keeps it for the next time."""
    with tempfile.TemporaryDirectory(prefix="onnxruntime-web-") as folder:
        command = ["npm", "pack", "--silent", "--prefer-offline", PACKAGE]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        except FileNotFoundError:
            raise ConfigError(
                f"npm: not found; it fetches {PACKAGE}. Install it (apt-get install npm), or {OTHERWISE}"
            ) from None
        except subprocess.TimeoutExpired:
            raise ConfigError(f"npm pack {PACKAGE}: no answer in {TIMEOUT_S} s. Try again, or {OTHERWISE}") from None
        found = sorted(Path(folder).glob("*.tgz"))
        if done.returncode or not found:
            reason = " ".join(done.stderr.split())[-300:] or f"exit code {done.returncode}"
            raise ConfigError(f"npm pack {PACKAGE}: failed ({reason}). Check the connection, or {OTHERWISE}")
        return _unpacked(found[0])


def _unpacked(archive: Path) -> dict[str, tuple[str, bytes]]:
    try:
        with tarfile.open(archive) as package:
            members = {name: package.extractfile(f"package/dist/{name}") for name in SHA256}
            return {name: (f"npm's {PACKAGE}", member.read()) for name, member in members.items() if member}
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise DataError(f"npm's {PACKAGE}: cannot be unpacked ({error}). Fetch it again, or {OTHERWISE}") from None
