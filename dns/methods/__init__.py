"""Lists the methods that can be trained and tested, each by what the engine asks for."""

from dataclasses import dataclass

from dns import losses, model, optim, published
from dns.methods import agw, baseline, caj, deen, two_stems
from dns.network import Network, NetworkOptions
from dns.published import PublishedNames


@dataclass(frozen=True)
class Method:
    """A method. network: its class, called with (identities, options, losses, weights), see DNS; model, loss,
    multiplier: the classes of its options; published: how its published checkpoints name their tensors, the layouts
    that there are; feature: what is compared when training chooses an epoch, see FEATURES."""

    network: type[Network]
    model: type[NetworkOptions]
    loss: type
    multiplier: type
    published: tuple[PublishedNames, ...] = ()
    feature: str = "bn"


METHODS = {
    "dns": Method(model.DNS, model.ModelOptions, losses.LossOptions, optim.MultiplierOptions, (published.PUBLISHED,)),
    "agw": Method(agw.AGW, NetworkOptions, agw.LossOptions, two_stems.MultiplierOptions, (agw.PUBLISHED,)),
    "caj": Method(caj.CAJ, NetworkOptions, caj.LossOptions, two_stems.MultiplierOptions, (agw.PUBLISHED,)),
    "deen": Method(
        deen.DEEN, deen.ModelOptions, deen.LossOptions, two_stems.MultiplierOptions,
        (deen.PUBLISHED, deen.PUBLISHED_ON_REGDB), feature="sum",
    ),
    "baseline": Method(
        baseline.Baseline, NetworkOptions, baseline.LossOptions, baseline.MultiplierOptions, (baseline.PUBLISHED,)
    ),
}  # fmt: skip
