"""Information from one perceptron's scores in the kernel beside PyTorch, eager and compiled, per point.

``python benchmarks/information_networks.py [--rounds 7]``, one thread. The network is that of ``fit_scores`` (three
residual blocks of 128 units) and a plain one of three hidden layers, on data of ten numbers under conditions of five;
gap, loss and difference of entropies of points at noise levels of their own, both scores at each, float32, normals
given to all. The compiled ones share between both scores what can be shared: the first product and all that the level
gives. Every contestant takes the points in blocks of the size that suits it best; "as called" is what
``mutual_information`` calls, "features given" its kernel alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import limits
import torch
from torch import Tensor, nn

import thermokern as tk
from thermokern import ops
from thermokern.quantities.information.gaussian import FusedRates
from thermokern.quantities.information.integral import Batch, Data
from thermokern.quantities.information.integrands import information_rates

VP = tk.VP()
DIM, GIVEN, WIDTH, DEPTH, POINTS = 10, 5, 128, 3, 40_320
BLOCKS = (336, 1_008, 2_016, 4_032, 8_064)
SHAPE = torch.Size([DIM])
silu = nn.functional.silu


class Problem:
    """A network whose last layer is no longer zero, and points at levels from noise to data."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        x, y = (torch.randn(POINTS, size, generator=generator, dtype=torch.float64) for size in (DIM, GIVEN))
        with torch.enable_grad():
            self.model = tk.fit_scores(x[:2000], y[:2000], steps=20, width=WIDTH, depth=DEPTH, process=VP)
        self.x, self.y = x, y
        self.t = VP.times_at(torch.linspace(VP.log_snr(1.0), VP.log_snr(1e-5), POINTS, dtype=torch.float64))
        order = torch.randperm(POINTS, generator=generator)
        self.t = self.t[order]
        self.m, self.root = VP.mean_scale(self.t), VP.variance(self.t).sqrt()
        self.noise = ops.normals(POINTS, DIM, seed=9, dtype=torch.float64)
        self.single = [part.float() for part in (x, y, self.noise, self.m[:, None], self.root[:, None])]


def _columns(one: Tensor, other: Tensor, rest: Tensor, noise: Tensor) -> Tensor:
    apart, both = one - other, one + other
    return 0.5 * torch.stack(
        [(apart * apart).sum(1), -(apart * (both + 2.0 * noise)).sum(1), (apart * (both - 2.0 * rest)).sum(1)]
    )


def residual(network: tk.models.ConditionalMLP) -> Callable[..., Tensor]:
    """Rates of both scores of the network, as fast as one can write them: both below each other in every product."""
    mean, std = network.mean, network.std
    frequencies = network.frequencies
    seen = 1 + 2 * len(frequencies)
    enter_x, enter_level, enter_given = network.enter.weight.detach().split([DIM, seen, GIVEN + 1], dim=1)
    blocks = [
        (inner.weight.T, (inner.bias + level.bias), level.weight[:, :seen].T, level.weight[:, seen:].T, outer)
        for inner, level, outer in zip(network.inner, network.level, network.outer, strict=True)
    ]

    def rates(x: Tensor, y: Tensor, z: Tensor, m: Tensor, root: Tensor) -> Tensor:
        n = len(x)
        point = m * x + root * z
        spread = (m * m * std * std + root * root).sqrt()
        apart = point - m * mean
        log_snr = 2.0 * (m.log() - root.log())
        angles = log_snr * frequencies
        level = torch.cat([0.1 * log_snr, angles.sin(), angles.cos()], dim=1)
        given = torch.cat([(y - network.condition_mean) / network.condition_std, torch.zeros_like(log_snr)], dim=1)
        none = torch.zeros(GIVEN + 1)
        none[-1] = 1.0
        common = torch.addmm(network.enter.bias, apart / spread, enter_x.T) + level @ enter_level.T
        h = torch.cat([common + given @ enter_given.T, common + none @ enter_given.T])
        for inner, bias, by_level, by_given, outer in blocks:
            shared = torch.addmm(bias, level, by_level)
            shift = torch.cat([shared + given @ by_given, shared + none @ by_given])
            h = h + outer(silu(silu(h) @ inner + shift))
        correction = network.leave(silu(h))
        one, other = (-root * apart / spread**2 - m * std / spread * part for part in correction.split(n))
        return _columns(one, other, -root * point / (m * m + root * root), z)

    return rates


class Plain(nn.Module):
    """Three hidden layers on the point, sines and cosines of the level, and the condition or none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.frequencies = torch.tensor([0.2, 0.4, 0.8, 1.6])
        self.first = nn.Linear(DIM + 9 + GIVEN + 1, WIDTH)
        self.hidden = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])
        self.last = nn.Linear(WIDTH, DIM)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The noise in x, as a network of one's own is written; no condition is NaN."""
        log_snr = VP.log_snr(t.double()).to(x)[:, None]
        absent = y.isnan().any(1, keepdim=True)
        given = torch.cat([torch.where(absent, 0.0, y), absent.to(x)], dim=1)
        h = self.first(torch.cat([x, self.level(log_snr), given], dim=1))
        for layer in self.hidden:
            h = layer(silu(h))
        out: Tensor = self.last(silu(h))
        return out

    def level(self, log_snr: Tensor) -> Tensor:
        """Features of a noise level."""
        angles = log_snr * self.frequencies
        return torch.cat([0.1 * log_snr, angles.sin(), angles.cos()], dim=1)

    def parts(self, m: Tensor, root: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the level and of the condition, and those of none."""
        log_snr = 2.0 * (m.log() - root.log())
        none = torch.zeros(GIVEN + 1)
        none[-1] = 1.0
        return self.level(log_snr), torch.cat([y, torch.zeros_like(log_snr)], dim=1), none

    def rates(self, x: Tensor, y: Tensor, z: Tensor, m: Tensor, root: Tensor) -> Tensor:
        """Of both scores, below each other in every product but the first."""
        by_x, by_level, by_given = self.first.weight.split([DIM, 9, GIVEN + 1], dim=1)
        level, given, none = self.parts(m, root, y)
        point = m * x + root * z
        common = torch.addmm(self.first.bias, point, by_x.T) + level @ by_level.T
        h = torch.cat([common + given @ by_given.T, common + none @ by_given.T])
        for layer in self.hidden:
            h = layer(silu(h))
        one, other = (-part for part in self.last(silu(h)).split(len(x)))
        return _columns(one, other, -root * point / (m * m + root * root), z)

    def fused(self, x: Tensor, y: Tensor, z: Tensor, m: Tensor, root: Tensor) -> Tensor:
        """The same by the kernel."""
        by_x, context = self.first.weight.split([DIM, 9 + GIVEN + 1], dim=1)
        level, given, none = self.parts(m, root, y)
        layers = (self.first, *self.hidden, self.last)
        ones = torch.ones(DIM, len(x))
        weights = [by_x.contiguous(), *(layer.weight for layer in layers[1:])]
        seen = [context.contiguous(), *(layer.weight[:, :0] for layer in layers[1:])]
        features = level.T.contiguous(), torch.stack([given.T, none[:, None].expand(-1, len(x))])
        axes = (ones, -ones, torch.zeros_like(ones), torch.zeros(DIM), m[:, 0].contiguous(), root[:, 0].contiguous())
        biases = [layer.bias for layer in layers]
        rows = x.T.contiguous(), z.T.contiguous()
        out: Tensor = torch.ops.thermokern.mlp_gap(
            rows[0], "silu", weights, biases, seen, *features, False, *axes, 1.0, rows[1], 0, 0
        )
        return out[:, 0]


def alone(p: Problem, integrand: FusedRates) -> Callable[[slice], Tensor]:
    """The kernel without what makes its arguments."""
    (gap,) = integrand.kernels
    kept: dict[tuple[int, int], tuple[object, ...]] = {}

    def run(which: slice) -> Tensor:
        key = which.start, which.stop
        if key not in kept:
            layers = gap.network.layers_at(p.t[which], p.m[which], p.root[which], [p.y[which]])
            rows = [part[which].T.float().contiguous() for part in (p.x - layers.centre, p.noise)]
            lists = [[each.contiguous() for each in part] for part in (layers.weights, layers.biases, layers.context)]
            seen = layers.level.contiguous(), layers.condition.contiguous()
            axes = (layers.enter, layers.scale, layers.skip, layers.centre, p.m[which].float(), p.root[which].float())
            kept[key] = (rows[0], "silu", *lists, *seen, True, *axes, 1.0, rows[1], 0, 0)
        out: Tensor = torch.ops.thermokern.mlp_gap(*kept[key])
        return out[:, 0]

    return run


def contestants(p: Problem) -> dict[tuple[str, str], Callable[[slice], Tensor]]:
    """By network and name: rates (3, n) of a block of points."""
    network, plain = p.model.network, Plain().requires_grad_(False)
    null = torch.full((GIVEN,), torch.nan)
    integrand, of_plain = (
        information_rates(model, model.unconditional, VP, SHAPE)
        for model in (p.model, tk.ConditionalModel(plain, VP, "epsilon", null))
    )

    def streamed(rates: FusedRates, which: slice) -> Tensor:
        root = p.root[which, None]
        x = p.m[which, None] * p.x[which] + root * p.noise[which]
        return rates(Batch(x, p.t[which], p.noise[which], root, p.y[which])).T

    def called(rates: FusedRates, which: slice) -> Tensor:
        found = rates.fused(Data(p.x[which], p.noise[which], p.y[which], p.m[which], p.root[which], p.t[which]))
        assert found is not None, rates.refused
        return found.T

    def single(function: Callable[..., Tensor]) -> Callable[[slice], Tensor]:
        return lambda which: function(*(part[which] for part in p.single))

    return {
        ("residual", "kernel, features given"): alone(p, integrand),
        ("residual", "kernel, as called"): partial(called, integrand),
        ("residual", "torch.compile, shared"): single(torch.compile(residual(network))),
        ("residual", "eager, shared"): single(residual(network)),
        ("residual", "PyTorch, as called"): partial(streamed, integrand),
        ("plain", "kernel, its features made"): single(plain.fused),
        ("plain", "kernel, as called"): partial(called, of_plain),
        ("plain", "torch.compile, shared"): single(torch.compile(plain.rates)),
        ("plain", "eager, shared"): single(plain.rates),
        ("plain", "PyTorch, as called"): partial(streamed, of_plain),
    }


def timed(run: Callable[[slice], Tensor], block: int, points: int) -> float:
    """CPU nanoseconds a point."""
    start = time.process_time()
    for low in range(0, points // block * block, block):
        run(slice(low, low + block))
    return 1e9 * (time.process_time() - start) / (points // block * block)


@torch.no_grad()
def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem = Problem()
    best: dict[tuple[str, str], tuple[int, partial[float]]] = {}
    agreed: dict[str, Tensor] = {}
    for key, run in contestants(problem).items():
        few = run(slice(0, 1008)).double()
        known = agreed.setdefault(key[0], few)
        error = ((few - known).square().mean() / known.square().mean()).sqrt().item()
        assert error < 1e-5, (key, error)
        tuned = {}
        for block in BLOCKS:
            run(slice(0, block))
            tuned[block] = min(timed(run, block, 8_064) for _ in range(3))
        block = min(BLOCKS, key=lambda size: tuned[size])
        best[key] = block, partial(timed, run, block, POINTS)
    found: dict[tuple[str, str], list[float]] = {key: [] for key in best}
    peak = limits.fma()
    assert not isinstance(peak, str), peak
    peaks = []
    for _ in range(options.rounds):
        for key, (_, run) in best.items():
            found[key].append(run())
        peaks.append(peak())
    print(f"FMA peak {max(peaks):.0f} GFLOP/s (the best of {options.rounds})")
    print(
        "| network | who | points at once | ns a point | least and most | × the kernel's |\n|---|---|---|---|---|---|"
    )
    for (network, name), times in found.items():
        base = next(times for (kind, who), times in found.items() if kind == network and who.startswith("kernel"))
        ratios = sorted(a / b for a, b in zip(times, base, strict=True))
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        print(
            f"| {network} | {name} | {best[network, name][0]:,} | {statistics.median(times):,.0f} | "
            f"{min(times):,.0f}–{max(times):,.0f} | {ratio} |"
        )
    for network, products in (("residual", 2 * DEPTH), ("plain", 2)):
        operations = 2 * (2 * products * WIDTH**2 + 3 * DIM * WIDTH)
        least = min(found[next(key for key in found if key[0] == network)])
        print(
            f"{network}: {operations:,} operations in products a point, {operations / least:.0f} GFLOP/s at the least"
        )


if __name__ == "__main__":
    main()
