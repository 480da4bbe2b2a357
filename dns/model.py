"""Builds DNS: two stems, a shared trunk with HSS after layer3 and layer4, two views of the map, a BN neck.

Its parts can be left out, to see what each adds (docs/ablation.md): HSS and CSS by an option, domain alignment and
distillation by a weight of 0. CSS is computed for these two losses alone, so without both it is not built.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.backbones import build_backbone
from dns.layers import make_classifier, make_neck, pooling
from dns.losses import (
    DomainDistillation,
    Losses,
    LossOptions,
    at_least_float32,
    circle_loss,
    domain_alignment,
    weighted_sum,
)
from dns.network import Network, NetworkOptions
from dns.option import option
from dns.shifting import CommonSpaceShifting, HeterogeneousSpaceShifting
from ffcv_convert.common.errors import ConfigError

GROUPS = ("rest", "layer3", "layer4", "neck", "classifier", "distillation")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(NetworkOptions):
    """Network"""

    tau: float = option(0.2, "how fast the momentum classifiers of DD follow", (0, 1))
    dropout: float = option(0.01, "in CSS", (0, 1))
    hss: bool = option(True, "heterogeneous space shifting (HSS) after layer3 and layer4")
    css: bool = option(True, "common space shifting (CSS); without it DA and DD see Z alone")


class Outputs(NamedTuple):
    """What training takes of a batch, visible half first: Z, Z_hat (None without CSS), BN(Z), the classifier's
    logits."""

    pooled_BD: Tensor
    shifted_BD: Tensor | None
    embedding_BD: Tensor
    logits_BC: Tensor


class DNS(Network):
    """A DNS network for `identities` training identities. D = 2048 (resnet50), 512 (resnet18) or 256 (resnet10_half).

    weights: a state dict of the whole backbone to start from, see build_backbone; options.pretrained says where the
    harness takes them from. Raises ConfigError where domain alignment has a weight, but nothing to align.
    """

    switches: ClassVar = {"hss3.": "model.hss", "hss4.": "model.hss", "css.": "model.css"}
    training_only: ClassVar = ("css.", "distillation.")

    def __init__(
        self,
        identities: int,
        options: ModelOptions,
        losses: LossOptions,
        weights: dict[str, Tensor] | None = None,
    ):
        super().__init__()
        self._losses = losses
        if losses.alignment and not options.css and not losses.alignment_modalities:
            raise ConfigError(
                f"loss.alignment = {losses.alignment}, but with model.css = false it has only the part of "
                "loss.alignment_modalities, which is 0. Set that, or --loss.alignment=0"
            )
        backbone = build_backbone(options.architecture, weights)
        self.visible_stem = backbone.stem
        self.other_stem = copy.deepcopy(self.visible_stem)  # infrared or sketch; both stems start equal
        self.layer3, self.layer4 = backbone.stages
        self._pool = pooling(backbone.rectified)
        middle, self.width = backbone.widths
        self.hss3 = HeterogeneousSpaceShifting(middle) if options.hss else nn.Identity()
        self.hss4 = HeterogeneousSpaceShifting(self.width) if options.hss else nn.Identity()
        read = options.css and (losses.alignment or losses.distillation)
        self.css = CommonSpaceShifting(self.width, options.dropout) if read else None
        self.neck = make_neck(self.width)
        self.classifier = make_classifier(self.width, identities)
        self.distillation = (
            DomainDistillation(self.width, identities, tau=options.tau, identity_weight=losses.distillation_identity)
            if losses.distillation
            else None
        )

    def forward(self, visible: Tensor, other: Tensor) -> Outputs:
        """Compute the outputs of a training batch from its halves, (B/2, 3, H, W) normalised images each."""
        maps = self.trunk(torch.cat([self.visible_stem(visible), self.other_stem(other)]))
        pooled = self._pool(maps)
        embedding = self.neck(pooled)
        shifted = self.css(maps.mean(dim=(2, 3))) if self.css is not None else None
        return Outputs(pooled, shifted, embedding, self.classifier(embedding))

    def loss(self, outputs: Outputs, person_B: Tensor) -> Losses:
        """Return each loss whose weight is not 0, by name, and their `total`: float32 at least."""
        pooled_BD, shifted_BD, embedding_BD, logits_BC = outputs
        margin, gamma = self._losses.circle_margin, self._losses.circle_gamma
        losses = {
            "identity": lambda: functional.cross_entropy(at_least_float32(logits_BC), person_B),
            "circle": lambda: circle_loss(embedding_BD, person_B, margin=margin, gamma=gamma) / len(person_B),
            "alignment": lambda: domain_alignment(pooled_BD, shifted_BD, self._losses),
        }
        if self.distillation is not None:
            losses["distillation"] = partial(self.distillation, embedding_BD, shifted_BD, person_B)
        return weighted_sum(losses, self._losses)

    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        """Embed test images of one modality: L2-normalised Z and BN(Z), (B, D) each, float32 at least. Papers report
        BN(Z)."""
        pooled = self._pool(self.trunk((self.visible_stem if visible else self.other_stem)(images)))
        return functional.normalize(pooled, dim=1), functional.normalize(at_least_float32(self.neck(pooled)), dim=1)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the name of their group, for learning rates; `rest`: both stems, HSS, CSS. Without
        DD there is no group of its classifiers."""
        return self.by_module(*(name for name in GROUPS[1:] if getattr(self, name) is not None))

    @property
    def last_map(self) -> nn.Module:
        return self.hss4

    def begin_batch(self, number: int) -> None:
        if self.distillation is not None:
            self.distillation.twins_follow = number == 0

    def trunk(self, maps: Tensor) -> Tensor:
        return self.hss4(self.layer4(self.hss3(self.layer3(maps))))
