"""Draws pedestrians: each image is a function of (seed, identity, camera, frame, modality)."""

from ffcv_convert.synthetic.people.person import draw_person

__all__ = ["draw_person"]
