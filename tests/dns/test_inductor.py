"""What dns/inductor.py changes: no number, through Inductor's CPU backend; and the layouts of the backward graph."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

# A stem, a convolution and HSS in float64: every operation whose lowering or layout changes. In a process of its own:
# the changes are the process's.
COMPARE = """
import sys
import torch
from torch import nn
from dns import inductor
from dns.shifting import HeterogeneousSpaceShifting

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.hss = HeterogeneousSpaceShifting(8)

    def forward(self, images):
        maps = self.stem(images)
        maps = nn.functional.relu(self.body(maps) + maps)  # a residual block, then another
        return self.hss(nn.functional.relu(self.body(maps) + maps)).square().mean()

torch._inductor.config.fx_graph_cache = False
torch._functorch.config.enable_autograd_cache = False
inductor.prepare()
lowered = []
find = torch._inductor.graph.GraphLowering.find_nodes_prefer_channels_last
def noted(self):
    chosen = find(self)
    nodes = [node for node in self.module.graph.nodes if node.target in inductor.ANCHORS]
    lowered.append((len(nodes), sum(node in chosen for node in nodes)))
    return chosen
torch._inductor.graph.GraphLowering.find_nodes_prefer_channels_last = noted
changed = []
for change in (inductor.mask_from_batch_norm, inductor.add_gradients_once):
    def counted(mask, relu, change=change):
        changed.append(change.__name__)
        change(mask, relu)
    setattr(inductor, change.__name__, counted)

torch.manual_seed(0)
network = Network().double().to(memory_format=torch.channels_last)
images = torch.rand(2, 3, 32, 24, dtype=torch.float64).to(memory_format=torch.channels_last)

def gradients(run):
    network.zero_grad()
    loss = run(images)
    loss.backward()
    return [loss.detach()] + [parameter.grad.clone() for parameter in network.parameters()]

plain, compiled = gradients(network), gradients(torch.compile(network, dynamic=False))
worst = max(((a - b).abs().max() / (b.abs().max() + 1e-300)).item() for a, b in zip(compiled, plain))
assert worst < 1e-12, worst
(forward, in_forward), (backward, in_backward) = lowered
assert forward == in_forward > 0 and backward == in_backward > 0, lowered
assert sorted(changed) == ["add_gradients_once"] * 2 + ["mask_from_batch_norm"] * 3, changed
print("the same")
"""


@pytest.mark.inductor
def test_a_compiled_network_computes_the_same_and_keeps_its_layout_in_both_passes() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARE], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("the same"), done.stderr[-3000:]
