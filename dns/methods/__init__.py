"""Lists the methods that can be trained and tested, each by what the engine asks for."""

from dataclasses import dataclass

from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.network import Network
from dns.optim import MultiplierOptions


@dataclass(frozen=True)
class Method:
    """A method. network: its class, called with (identities, options, losses, weights), see DNS; model, loss,
    multiplier: the classes of its options; feature: what is compared when training chooses an epoch, see FEATURES."""

    network: type[Network]
    model: type[ModelOptions]
    loss: type
    multiplier: type
    feature: str = "bn"


METHODS = {"dns": Method(DNS, ModelOptions, LossOptions, MultiplierOptions)}
