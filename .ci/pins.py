"""Print constraints.txt as the environment of this interpreter can keep it, for pip install -c.

An environment made with SYSTEM_PACKAGES=1 also sees the packages of the Python that it was made from: these are not
pinned, so that pip leaves them as they are where they serve. torch is pinned to the version that is there, for
torchvision comes in pairs with it.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


outside = {
    normalised(found.metadata["Name"]): found.version
    for found in distributions()
    if not Path(str(found.locate_file(""))).is_relative_to(sys.prefix)
}
if "torch" in outside:
    print(f"torch=={outside['torch']}")
    outside |= {"torchvision": "", "triton": ""}
for line in (Path(__file__).parent.parent / "constraints.txt").read_text().splitlines():
    if normalised(line.partition("==")[0]) not in outside:
        print(line)
