"""Says what the engine asks of a method's network. dns/model.py is DNS; dns/methods/ holds the others and the table.

A batch holds P identities x K images of each modality. PK rows, one kind of image or vector of each of these images,
are a block: the K rows of an identity are adjacent, and the identities stand in the same order in every block.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from dns.backbones import ARCHITECTURES
from dns.option import option

Losses = dict[str, Tensor]  # each loss by name, and their weighted sum as `total`, the last one


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Network"""

    method: str = option("dns", "whose network, losses and options: a row of METHODS")
    architecture: str = option("resnet50", "backbone", names=ARCHITECTURES)
    pretrained: str = option(
        "imagenet",
        "imagenet, clip (of resnet50_clip), none, or a file: a whole backbone, or a trained network",
        path=True,
    )


class Embeds(Protocol):
    """What testing needs of a network, see Network. digest: the SHA-256 of its weights."""

    parts: int
    width: int

    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]: ...

    def digest(self) -> str: ...


class Network(nn.Module, ABC):
    """A network in training and test.

    views: of each visible image, which the recipe of augmentation has to give. pooled_stem: whether it takes a backbone
    with a pooled stem and four stages, see Backbone. blocks: how many blocks of rows each output of `forward` is made
    of; 2 are [visible, infrared]. parts: vectors side by side in each row that `embed` returns; width: numbers in such
    a row. switches: how the names of a part's tensors begin -> the option that says whether the part is built.
    training_only: how the names of tensors begin that testing does not read.
    """

    views: ClassVar[int] = 1
    pooled_stem: ClassVar[bool] = False
    blocks: ClassVar[int] = 2
    switches: ClassVar[Mapping[str, str]] = {}
    training_only: ClassVar[tuple[str, ...]] = ()
    parts: int = 1
    width: int

    @abstractmethod
    def forward(self, visible: Tensor, other: Tensor) -> tuple[Tensor | None, ...]:
        """Compute what the losses need, as a NamedTuple of tensors of `blocks` blocks of rows each. None stands for one
        that these options do not compute.

        visible, other: normalised images, (rows, 3, H, W); other is infrared or sketch. A recipe with two views of each
        visible image gives visible two blocks.
        """

    @abstractmethod
    def loss(self, outputs: Any, person_B: Tensor) -> Losses:
        """Return each loss whose weight is not 0, by name, and their `total`: float32 at least.

        outputs: what `forward` returned, perhaps of all ranks together. person_B: training labels of two blocks,
        [visible, infrared], whatever number the outputs have.
        """

    @abstractmethod
    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        """Embed test images of one modality: before and after the BN neck, (B, width) each, float32 at least.

        Each is one L2-normalised vector, or `parts` side by side, each of which is L2-normalised.
        """

    @abstractmethod
    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return every trained parameter once, by the name of its group, for learning rates."""

    def by_module(self, *names: str) -> dict[str, list[nn.Parameter]]:
        """Return the trained parameters of these modules by their names, and all others as `rest`, which is first."""
        named = {name: list(getattr(self, name).parameters()) for name in names}
        taken = {id(parameter) for parameters in named.values() for parameter in parameters}
        return {"rest": [parameter for parameter in self.parameters() if id(parameter) not in taken], **named}

    @property
    @abstractmethod
    def last_map(self) -> nn.Module:
        """The module that returns the last maps of features, (maps, C, h, w), one or several an image: for figures."""

    def without_unbuilt(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return another network's tensors by name, without the parts that only its training read and that this network
        is built without. What `embed` returns does not depend on them."""
        own = self.state_dict()
        unbuilt = tuple(part for part in self.training_only if not any(name.startswith(part) for name in own))
        return {name: tensor for name, tensor in state.items() if not str(name).startswith(unbuilt)}

    def switch_of(self, names: Iterable[str]) -> str | None:
        """Return the option that builds a part as in the network with tensors of these names, such as
        --model.hss=false; None where every part is built in both networks or in neither."""
        names = list(names)
        for prefix, switch in self.switches.items():
            here, there = (any(name.startswith(prefix) for name in of) for of in (self.state_dict(), names))
            if here != there:
                return f"--{switch}={str(there).lower()}"
        return None

    def digest(self) -> str:
        """Return the SHA-256 of all tensors, in whatever layout and on whatever device they are."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def begin_batch(self, number: int) -> None:
        """Do what a method does before batch `number` (from 0) of an optimiser step. Most do nothing."""
