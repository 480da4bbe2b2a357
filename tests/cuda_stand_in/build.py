"""Builds the stand-in's library below build/: runtime.cpp, and a function that returns 0 for every other symbol of
CUDA that the installed torch asks for."""

import re
import subprocess
from pathlib import Path

import torch

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "build" / "cuda_stand_in"
LIBRARY = FOLDER / "libcuda.so.1"  # Triton looks for this name
CUDA = re.compile(r"(?!cuFile)(cuda[A-Z]|__cuda|cublas|cudnn|cu[A-Z])")
FOR_TRITON = {"cuTensorMapEncodeTiled", "cuTensorMapEncodeIm2col"}


class CannotBuild(Exception):
    """g++ or CUDA's headers are missing."""


def headers() -> list[Path]:
    """Folders of CUDA's headers, crt/ among them: those of the runtime that torch was installed with, whose structures
    have torch's sizes, and Triton's for what these lack. Raises CannotBuild."""
    try:
        import triton
    except ImportError:
        raise CannotBuild("no Triton: this torch is not built for CUDA") from None
    for folder in (Path(triton.__file__).parent / "backends/nvidia/include", Path("/usr/local/cuda/include")):
        if (folder / "cuda.h").exists() and (folder / "crt").is_dir():
            version = str(torch.version.cuda).partition(".")[0]
            return [Path(torch.__file__).parents[1] / f"nvidia/cu{version}/include", folder]
    raise CannotBuild("no folder with cuda.h and crt/: Triton's wheel of Linux brings one")


def build() -> Path:
    """Build the library if it is older than its source or made for another torch; returns it. Raises CannotBuild."""
    made_for = FOLDER / f"for-{torch.__version__}"
    if made_for.exists() and made_for.stat().st_mtime > (HERE / "runtime.cpp").stat().st_mtime:
        return LIBRARY
    include = [f"-I{folder}" for folder in headers()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("for-*"):
        old.unlink()
    own = set(re.findall(r"EXPORT [^;{(]*?(\w+)\(", (HERE / "runtime.cpp").read_text()))
    rest = sorted((_wanted() | FOR_TRITON) - own)
    functions = "".join(f'__attribute__((visibility("default"))) int {name}(void) {{ return 0; }}\n' for name in rest)
    (FOLDER / "rest.c").write_text(functions)
    try:
        _run("gcc", "-O1", "-fPIC", "-c", FOLDER / "rest.c", "-o", FOLDER / "rest.o")
        _run(
            "g++", "-O2", "-fPIC", "-std=c++17", *include, "-shared", "-Wl,-soname,libcuda.so.1",
            "-o", LIBRARY, HERE / "runtime.cpp", FOLDER / "rest.o", "-ldl", "-lpthread",
        )  # fmt: skip
    except FileNotFoundError as error:
        raise CannotBuild(f"{error.filename}: not installed") from None
    made_for.touch()
    return LIBRARY


def _wanted() -> set[str]:
    """CUDA's symbols that torch's libraries do not define themselves."""
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("*.so"))
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", *map(str, libraries)], capture_output=True, text=True, check=True
    ).stdout
    names = (line.split()[-1].partition("@")[0] for line in listed.splitlines() if " U " in line)
    return {name for name in names if CUDA.match(name)}


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)
