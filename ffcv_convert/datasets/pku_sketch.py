"""PKU-Sketch (Pang et al., "Cross-Domain Adversarial Feature Learning for Sketch Re-identification", ACM MM 2018).

PKU-Sketch/
  trainPKUList_train.txt  trainPKUList_test.txt   fields separated by spaces: second the identity (from 1), last
                                                  but one the modality (1 sketch, 2 photo), last the path

200 identities with one sketch and two photos each; 150 are for training. Cameras are unknown.
"""

from pathlib import Path

from ffcv_convert.beton import Modality
from ffcv_convert.datasets.dataset import Dataset, published
from ffcv_convert.datasets.files import is_number, read_lines, wrong_line
from ffcv_convert.records import Record, inside

MODALITIES = {"1": Modality.SKETCH, "2": Modality.VISIBLE}


def list_records(root: Path) -> list[Record]:
    """Return training images, then test images, in the order of the lists."""
    records = []
    for split in ("train", "test"):
        path = root / f"trainPKUList_{split}.txt"
        for place, line in read_lines(path):
            fields = line.split()
            if len(fields) < 4 or not is_number(fields[1]) or fields[-2] not in MODALITIES:
                raise wrong_line(root, place, line, "'... identity ... modality path' with modality 1 or 2")
            image = inside(root, fields[-1], place)
            records.append(Record(image, int(fields[1]), 0, MODALITIES[fields[-2]], split))
    return records


DATASET = Dataset(
    name="pku_sketch",
    folders=("PKU-Sketch", "PKUSketch", "pku_sketch"),
    list_records=list_records,
    how_to_get="ask its authors for it (National Engineering Laboratory for Video Technology, Peking University)",
    marks=("trainPKUList_train.txt",),
    reads=("trainPKUList_*.txt",),
    layout="Images are read where the two lists name them",
    counts=published(Modality.SKETCH, train=(150, 300, 150), test=(50, 100, 50)),
)
