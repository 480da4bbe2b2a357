"""Builds what several methods share: pooling, BN neck, classifier, and AGW's non-local block."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from dns.losses import at_least_float32

GEM_POWER, GEM_EPSILON = 3.0, 1e-12


def gem(maps: Tensor) -> Tensor:
    """Return the generalised mean (Radenovic et al., TPAMI 2019), p = 3, of relu(maps): (B, C, H, W) -> (B, C), float32
    at least."""
    mean = at_least_float32(functional.relu(maps)).pow(GEM_POWER).mean(dim=(2, 3))
    return (mean + GEM_EPSILON).pow(1 / GEM_POWER)


def mean(maps: Tensor) -> Tensor:
    """Return the mean of maps: (B, C, H, W) -> (B, C), float32 at least."""
    return at_least_float32(maps).mean(dim=(2, 3))


def pooling(rectified: bool) -> Callable[[Tensor], Tensor]:
    """Return how to pool a Backbone's maps: by GeM where they are rectified, else by their mean. GeM's relu would take
    all numbers below 0 from signed maps."""
    return gem if rectified else mean


def make_neck(width: int, *, bias: bool = True) -> nn.BatchNorm1d:
    """Build the batch norm between Z and the classifier. bias: whether it is trained; else it is a buffer that stays 0,
    so that neither an optimiser nor its weight decay has it."""
    neck = nn.BatchNorm1d(width)
    neck.num_batches_tracked = None
    nn.init.normal_(neck.weight, 1.0, 0.01)
    nn.init.zeros_(neck.bias)
    if not bias:
        zeros = neck.bias.detach()
        del neck.bias
        neck.register_buffer("bias", zeros)
    return neck


def make_classifier(width: int, identities: int) -> nn.Linear:
    classifier = nn.Linear(width, identities, bias=False)
    nn.init.normal_(classifier.weight, 0.0, 0.001)
    return classifier


class Residual(nn.Module):
    """A residual step x + BN(conv1x1(y)), whose batch norm starts at 0: a block that ends with it starts as the
    identity."""

    def __init__(self, inner: int, channels: int):
        super().__init__()
        self.expand = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.norm.num_batches_tracked = None
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.norm(self.expand(y))


class NonLocal(nn.Module):
    """AGW's non-local block, (B, C, H, W) -> same: each place n gets theta_n times the mean of phi_m g_m over all m.

    The published code computes one inner channel where half of C was meant, so that the attention has rank one, and
    divides by the number of places in the place of a softmax. Published numbers come from it.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(channels, 1, 1) for _ in range(3))
        self.step = Residual(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = (self.phi(x) * self.g(x)).mean(dim=(2, 3), keepdim=True)
        return self.step(x, self.theta(x) * mean)
