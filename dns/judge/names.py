"""Lists what features and labels may be called in a file, in small letters."""

MATRIX = "features"  # the name of a matrix that has none
BEFORE_NECK = "before_neck"  # the second matrix of eval.export
COMPARED = "compared"  # which features the method of eval.export compares
NAMES = {
    "vectors": ("embeddings", MATRIX, "feature", "feats", "feat", "embedding"),
    "path": ("paths", "path", "names", "name", "images", "image", "files", "file"),
    "person": ("persons", "person", "identities", "identity", "pids", "pid", "ids", "id", "labels", "label"),
    "camera": ("cameras", "camera", "camids", "camid", "cams", "cam"),
    "modality": ("modality", "modalities"),
}
LABELS = ("path", "person", "camera", "modality")


def label_of(name: str) -> str | None:
    """Return which label a column of this name holds, None for features."""
    return next((label for label in LABELS if name.strip().lower() in NAMES[label]), None)
