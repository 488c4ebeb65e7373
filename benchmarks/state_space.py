# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Training steps of S4D against its equations as they are usually written in PyTorch.

    python -m benchmarks.state_space [--quick] [--threads N]

The network is that of sc_s4d.yaml, on features of clips of a second (100 steps), and on 250 steps.
Both compute the same function of the same weights. Writes a JSON file.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measure import add_common, interleaved, machine, set_up, write
from models.ssms import SSM
from parsers.program import Parser, program
from training.device.choice import choose_device

PROGRAM = "benchmarks.state_space"
BATCH, FEATURES, CLASSES, DROPOUT = 32, 40, 35, 0.2
SIZES, STEPS, STATES = [128] * 6 + [CLASSES], (100, 250), 64
QUICK_SIZES, QUICK_STEPS = [8, 8, CLASSES], (12,)


class Plain(nn.Module):
    """``net``, an ``SSM`` of S4D, with its weights, and nothing that makes it fast."""

    def __init__(self, net: SSM):
        super().__init__()
        self.snn = net.snn

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [B, C] of ``x`` [B, T, F]."""
        for layer in self.snn[:-1]:
            if layer.encoder is not None:
                x = functional.linear(x, layer.encoder.weight, layer.encoder.bias)
            normalized = layer.norm(x.reshape(-1, x.shape[2])).reshape(x.shape)
            y = self.block(layer.S4D, normalized.mT).mT
            x = functional.dropout(y, layer.drop.p, self.training) + x
        return self.snn[-1].linear(x).mean(dim=1)

    def block(self, block: nn.Module, u: Tensor) -> Tensor:
        """[B, H, T] -> [B, H, T]."""
        length, p = u.shape[2], block.dropout if self.training else 0.0
        K, U = (torch.fft.rfft(x, n=2 * length) for x in (self.kernel(block.kernel, length), u))
        y = torch.fft.irfft(U * K, n=2 * length)[..., :length] + u * block.D[:, None]
        y = functional.gelu(y)
        if p > 0:
            y = y * (torch.rand(*y.shape[:2], 1, device=y.device) < 1 - p) * (1 / (1 - p))
        conv, glu = block.output_linear
        return glu(functional.conv1d(y, conv.weight, conv.bias))

    def kernel(self, kernel: nn.Module, length: int) -> Tensor:
        """[H, L]: a complex exponential for every mode and step."""
        A = -torch.exp(kernel.log_A_real) + 1j * kernel.A_imag
        dt_A = A * torch.exp(kernel.log_dt)[:, None]
        C = torch.view_as_complex(kernel.C) * (torch.exp(dt_A) - 1) / A
        powers = torch.exp(dt_A[..., None] * torch.arange(length, device=A.device))
        return 2 * torch.einsum("hn,hnl->hl", C, powers).real


def training_step(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """One step of AdamW on a batch, as a function to time."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=x.is_cuda)

    def step():
        output = net(x)
        loss = functional.cross_entropy(output[0] if isinstance(output, tuple) else output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def networks(sizes: list[int], device: torch.device) -> tuple[Plain, SSM]:
    """Both kinds of network, with weights of their own that are equal."""
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        features = {"state_size": STATES, "dt_min": 0.001, "dt_max": 0.1}
        net = SSM((None, None, FEATURES), sizes, "S4D", DROPOUT, extra_features=features)
        found.append(net.to(device))
    return Plain(found[0]), found[1]


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    add_common(parser)
    options = parser.parse_args(argv)
    device = choose_device(0)
    file = set_up(options, "state_space", device.type)
    sizes, lengths = (QUICK_SIZES, QUICK_STEPS) if options.quick else (SIZES, STEPS)
    result = {"benchmark": "state_space", "machine": machine(), "sizes": sizes, "batch": BATCH}
    result["steps"] = {}
    for length in lengths:
        x = torch.randn(BATCH, length, FEATURES, device=device)
        y = torch.randint(CLASSES, (BATCH,), device=device)
        names, nets = ("plain", "ours"), networks(sizes, device)
        runs = {n: training_step(net, x, y) for n, net in zip(names, nets, strict=True)}
        result["steps"][length] = interleaved(runs, rounds=2 if options.quick else 15)
        write(file, result)
    times = {steps: (found["plain"], found["ours"]) for steps, found in result["steps"].items()}
    rows = [
        [length, f"{plain['ms']:.0f}", f"{ours['ms']:.0f}", ours["ratio"]]
        for length, (plain, ours) in times.items()
    ]
    print("\n" + tabulate(rows, ["steps", "plain (ms)", "ours (ms)", "times faster"]))
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
