"""Code that every package may import: errors, atomic file writing, locks, Numba's cache on disk."""
