"""What every package may import: errors, files that appear whole or not at all, locks, compiled code kept on disk."""
