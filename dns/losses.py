"""Computes the four losses of DNS, in float32 at least: identity, circle, domain alignment, domain distillation.

total = cross entropy + circle / B + 0.2 alignment + distillation, with the weights of LossOptions
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.network import Losses
from dns.option import option
from ffcv_convert.common.errors import ConfigError

EXCLUDED = -1e8  # mask value: its exp() is 0, and a row of nothing else still has a finite gradient
WEIGHT = (0, 1000)


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Losses: weights, margins and scales; a loss of weight 0 is not computed"""

    identity: float = option(1.0, "weight of the cross entropy over identities", WEIGHT)
    circle: float = option(1.0, "weight of the circle loss, which is divided by the batch size", WEIGHT)
    circle_margin: float = option(0.45, "margin of the circle loss", (0, 1))
    circle_gamma: float = option(64.0, "scale of the circle loss", (0, 1000))
    alignment: float = option(0.2, "weight of domain alignment (DA)", WEIGHT)
    alignment_modalities: float = option(0.45, "in DA: of the MMD between modalities, in each space", WEIGHT)
    alignment_spaces: float = option(0.05, "in DA: of the MMD between spaces, for each modality", WEIGHT)
    alignment_kernels: int = option(5, "kernels of an MMD", (1, 10))
    alignment_factor: float = option(2.0, "how many times as wide each kernel of an MMD is as the one before", (1, 10))
    distillation: float = option(1.0, "weight of domain distillation (DD)", WEIGHT)
    distillation_identity: float = option(0.25, "in DD: of the cross entropy of its classifiers", WEIGHT)

    def __post_init__(self) -> None:
        if self.alignment and not (self.alignment_modalities or self.alignment_spaces):
            raise ConfigError(
                f"loss.alignment = {self.alignment}, but both of its parts have weight 0. Set one of them, or "
                "--loss.alignment=0"
            )


def weighted_sum(losses: Mapping[str, Callable[[], Tensor]], options: Any) -> Losses:
    """Compute the losses whose weight, an option of the same name, is not 0; and their weighted sum, `total`.

    Raises ConfigError where every weight is 0.
    """
    weights = {name: getattr(options, name) for name in losses}
    if not any(weights.values()):
        raise ConfigError("loss: every weight is 0, so nothing would be trained. Set one, such as --loss.identity=1")
    found = {name: loss() for name, loss in losses.items() if weights[name]}
    parts = [loss if weights[name] == 1 else weights[name] * loss for name, loss in found.items()]
    return {**found, "total": reduce(add, parts)}


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32 if its own precision is lower. float64 stays, so that comparisons can run in it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def circle_loss(embedding_BD: Tensor, person_B: Tensor, *, margin: float, gamma: float) -> Tensor:
    """Return the pairwise circle loss (Sun et al., CVPR 2020), mean over anchors.

    embedding_BD: any float; normalised here, in float32 at least (logits reach 243, where fp16 steps are 0.125).
    Every person needs two images in the batch; an anchor without a positive adds nothing.
    """
    embedding_BD = functional.normalize(at_least_float32(embedding_BD), dim=1)
    similarity = embedding_BD @ embedding_BD.T
    same = person_B[:, None] == person_B[None, :]
    positive = same & ~torch.eye(len(person_B), dtype=torch.bool, device=same.device)
    weight_positive = (1 + margin - similarity.detach()).clamp(min=0)
    weight_negative = (similarity.detach() + margin).clamp(min=0)
    logit_positive = -gamma * weight_positive * (similarity - (1 - margin))
    logit_negative = gamma * weight_negative * (similarity - margin)
    logit_positive = torch.where(positive, logit_positive, EXCLUDED).logsumexp(dim=1)
    logit_negative = torch.where(same, EXCLUDED, logit_negative).logsumexp(dim=1)
    return functional.softplus(logit_positive + logit_negative).mean()


def mmd(first_ND: Tensor, second_ND: Tensor, *, kernels: int, factor: float) -> Tensor:
    """Return the maximum mean discrepancy (Gretton et al., JMLR 2012), RBF kernels around the mean squared distance.

    kernels: how many; each is `factor` times as wide as the one before.

    Both (N, D), N equal; L2-normalised here. No gradient flows through the bandwidth. Distances by the Gram form:
    N x N, never N x N x D.
    """
    both = functional.normalize(at_least_float32(torch.cat([first_ND, second_ND])), dim=1)
    square = both.square().sum(dim=1)
    distance = (square[:, None] + square[None, :] - 2 * both @ both.T).clamp(min=0)
    count = len(both)
    bandwidth = distance.detach().sum() / (count * (count - 1)) / factor ** (kernels // 2)
    bandwidth = bandwidth.clamp(min=torch.finfo(bandwidth.dtype).tiny)  # rows that are all equal
    kernel = torch.zeros_like(distance)
    for power in range(kernels):
        kernel = kernel + (-distance / (bandwidth * factor**power)).exp()
    half = len(first_ND)
    return (kernel[:half, :half] + kernel[half:, half:] - kernel[:half, half:] - kernel[half:, :half]).mean()


def domain_alignment(pooled_BD: Tensor, shifted_BD: Tensor | None, options: LossOptions) -> Tensor:
    """Return DA: MMD between modalities in both spaces (0.45 each), between the spaces of each modality (0.05 each).

    pooled_BD = Z, shifted_BD = Z_hat, visible half first. Without Z_hat only the modalities in Z are left to align.
    """
    visible, other = pooled_BD.chunk(2)

    def weighted(weight: float, *pairs: tuple[Tensor, Tensor]) -> Tensor:
        if not weight:
            return pooled_BD.new_zeros(())
        kernels, factor = options.alignment_kernels, options.alignment_factor
        return weight * reduce(add, (mmd(*pair, kernels=kernels, factor=factor) for pair in pairs))

    if shifted_BD is None:
        return weighted(options.alignment_modalities, (visible, other))
    shifted_visible, shifted_other = shifted_BD.chunk(2)
    modalities = (visible, other), (shifted_visible, shifted_other)
    spaces = (visible, shifted_visible), (other, shifted_other)
    return weighted(options.alignment_modalities, *modalities) + weighted(options.alignment_spaces, *spaces)


class DomainDistillation(nn.Module):
    """The loss DD: each modality's classifier learns from the momentum twin of the other's.

    At every training forward, before they are used, the twins move by W' = (1 - tau) W' + tau W, unless twins_follow is
    False: for the further batches of one optimiser step. KL takes the student's probabilities as the target, sum
    p_student (log p_student - log p_teacher), as the published code does. It uses log_softmax; the published
    softmax().log() overflowed to inf in a released log.
    """

    def __init__(self, width: int, identities: int, *, tau: float, identity_weight: float):
        super().__init__()
        self.tau, self._identity_weight = tau, identity_weight
        self.twins_follow = True
        self.visible = nn.Linear(width, identities, bias=False)
        self.other = nn.Linear(width, identities, bias=False)
        # Copies: storage shared with the classifiers would be corrupted by the update in place.
        self.register_buffer("visible_twin", self.visible.weight.detach().clone())
        self.register_buffer("other_twin", self.other.weight.detach().clone())
        self.visible_twin: Tensor
        self.other_twin: Tensor

    @torch.no_grad()
    def update_twins(self) -> None:
        self.visible_twin.lerp_(self.visible.weight, self.tau)
        self.other_twin.lerp_(self.other.weight, self.tau)

    def forward(self, embedding_BD: Tensor, shifted_BD: Tensor | None, person_B: Tensor) -> Tensor:
        """Return the loss, the sum over both spaces or, without Z_hat, that of BN(Z). embedding_BD = BN(Z),
        shifted_BD = Z_hat, person_B labels; visible half first."""
        if self.training and self.twins_follow:
            self.update_twins()
        of_embedding = self._one_space(at_least_float32(embedding_BD), person_B)
        if shifted_BD is None:
            return of_embedding
        return of_embedding + self._one_space(at_least_float32(shifted_BD), person_B)

    def _one_space(self, feature_BD: Tensor, person_B: Tensor) -> Tensor:
        visible, other = feature_BD.chunk(2)
        visible_label, other_label = person_B.chunk(2)
        visible_logits, other_logits = self.visible(visible), self.other(other)
        with torch.no_grad():
            visible_teacher = functional.linear(visible, self.other_twin)
            other_teacher = functional.linear(other, self.visible_twin)
        student, teacher = torch.cat([visible_logits, other_logits]), torch.cat([visible_teacher, other_teacher])
        if not self._identity_weight:
            return _kl(student, teacher)
        identity = functional.cross_entropy(visible_logits, visible_label) + functional.cross_entropy(
            other_logits, other_label
        )
        return _kl(student, teacher) + self._identity_weight * identity


def _kl(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence, the mean over the whole batch."""
    student, teacher = student_logits.log_softmax(dim=1), teacher_logits.log_softmax(dim=1)
    return (student.exp() * (student - teacher)).sum(dim=1).mean()
