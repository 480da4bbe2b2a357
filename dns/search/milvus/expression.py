"""Says the filters in Milvus's language."""

import json

from dns.search.rows import Filters


def expression(filters: Filters) -> str:
    """Return the filters as an expression of the fields of collection.py, empty where they choose every row."""
    parts = []
    if filters.cameras:
        parts.append(f"camera in {json.dumps(list(filters.cameras), ensure_ascii=False)}")
    if filters.modality is not None:
        parts.append(f'modality == "{filters.modality.name.lower()}"')
    if filters.since_ms is not None:
        parts.append(f"last >= {filters.since_ms}")
    if filters.until_ms is not None:
        parts.append(f"first < {filters.until_ms}")
    return " and ".join(parts)
