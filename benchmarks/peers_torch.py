"""Peers in PyTorch, written as a good user would: eager, torch.compile, autograd and torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peers_mixture import advance, coefficient_rows, mixture_rows, mixture_score, mixtures_step, rows, split_row
from problems import COMPONENTS, DIM, Contestant, Problem, Run
from torch import Tensor, nn
from torch.nn import functional

from thermokern import ops


def noise_block(buffer: Tensor, noise: Tensor | None, first: int) -> Tensor:
    """Noise of some nodes, (nodes, d, n): the given one (zeros past its end), or fresh in `buffer`."""
    if noise is None:
        return buffer.normal_()
    out = noise[first : first + len(buffer)]
    return out if len(out) == len(buffer) else torch.cat([out, out.new_zeros(len(buffer) - len(out), *out.shape[1:])])


def eager_a(problem: Problem) -> Contestant:
    """Eager torch, (K, n) arrays, differences rather than expanded squares; fewer steps timed."""
    timed = max(1, problem.steps // 20)

    def scores(source: ops.MixtureSource, table: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:  # x (d, n)
        means = table[: COMPONENTS * DIM].view(COMPONENTS, DIM)
        precisions = table[COMPONENTS * DIM : -COMPONENTS]
        logs = table[-COMPONENTS:, None]
        d = means[:, :, None] - x  # (K, d, n)
        if problem.diagonal:
            pull = precisions.view(COMPONENTS, DIM, 1) * d
            r = (logs - 0.5 * (pull * d).sum(1)).softmax(0)  # (K, n)
            curvature = (r * pull.square().sum(1)).sum(0) - precisions.view(COMPONENTS, DIM).sum(1) @ r
            score = (r[:, None] * pull).sum(0)
        else:
            square = d.square().sum(1)  # (K, n)
            r = (logs - 0.5 * precisions * square).softmax(0)
            score = precisions * (means.T @ r - x)
            curvature = precisions * (precisions * (r * square).sum(0) - DIM)
        return score, curvature - score.square().sum(0)

    def build() -> Run:
        nodes = problem.steps + 1
        tables = {steps: coefficient_rows(problem, steps).tolist() for steps in (timed, problem.steps)}
        sources = (problem.model, problem.target)
        mixtures = [mixture_rows(source, problem.diagonal, nodes).float() for source in sources]

        def run(steps: int, noise: Tensor | None) -> Tensor:
            x, z_in = problem.x.T.contiguous(), torch.zeros(DIM, problem.n)
            value, mismatch = torch.zeros(problem.n), torch.zeros(problem.n)
            for k, (drift, scale, energy, noise_in, noise_out, rate) in enumerate(tables[steps]):
                z = torch.randn(DIM, problem.n) if noise is None else noise[k]
                (s, s_divergence), (r, r_divergence) = (
                    scores(source, table[k], x) for source, table in zip(sources, mixtures, strict=True)
                )
                delta = s - r
                gain = (delta * (s + r)).sum(0) + s_divergence - r_divergence
                value += energy * gain + (delta * (noise_in * z_in + noise_out * z)).sum(0)
                mismatch += rate * delta.square().sum(0)
                x, z_in = drift * x + scale * z, z
            return value

        return run

    return Contestant("torch eager", "peer", {"": build}, timed, problem.n)


def compiled_a(problem: Problem, quick: bool) -> Contestant:
    """torch.compile of a block of hand-unrolled steps; the normals are drawn outside, a block at a time."""

    def build(block: int, shared: bool, mode: str) -> Callable[[], Run]:
        def make() -> Run:
            def steps_of(state: tuple[Tensor, ...], table: Tensor, z: Tensor) -> tuple[Tensor, ...]:
                for k in range(block):
                    noise = [z[k, i] for i in range(DIM)]
                    state = mixtures_step(torch, table[k], state, noise, problem.diagonal, shared)
                return state

            compiled = torch.compile(steps_of, mode=mode, dynamic=False, fullgraph=True)
            tables = {problem.steps: list(rows(problem, problem.steps, block).split(block))}
            # Two buffers in turn: the last noise of a block is still read by the next.
            buffers = [torch.empty(block, DIM, problem.n) for _ in range(2)]

            def run(steps: int, noise: Tensor | None) -> Tensor:
                x = problem.x.T.contiguous()
                state = (*x, *torch.zeros(DIM + 2, problem.n))
                for k, table in enumerate(tables[steps]):
                    state = compiled(state, table, noise_block(buffers[k % 2], noise, k * block))
                return state[-2]

            return run

        return make

    forms = (True, False) if problem.shared and not quick else (problem.shared,)
    plans = [(block, shared, "default") for shared in forms for block in ((2,) if quick else (1, 4, 8))]
    if not quick:
        plans.append((4, problem.shared, "max-autotune-no-cudagraphs"))
    candidates = {f"block {b}, {'sharing, ' if s else ''}{m}": build(b, s, m) for b, s, m in plans}
    return Contestant("torch.compile", "peer", candidates, problem.steps, problem.n)


# Names of inductor's options to switch on, or None: eager.
Options = tuple[str, ...] | None
Tunings = tuple[Options, ...]
Network = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # x (n, d), biases -> out (n, d), its divergence (n,)


class StackedNetwork(nn.Module):
    """Forward mode by hand: the value and its d tangents stacked into one matrix product a layer."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(weight, requires_grad=False) for weight in weights])

    def forward(self, x: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
        first, *middle, last = self.weights
        b = biases.split([weight.shape[0] for weight in self.weights])
        n = x.shape[0]
        a = functional.linear(x, first) + b[0]  # (n, width)
        tangents = first.T[:, None, :]  # (d, 1, width)
        for i in range(len(middle) + 1):
            gate = torch.sigmoid(a)
            h = a * gate
            tangents = (gate + h * (1.0 - gate)) * tangents  # (d, n, width)
            if i < len(middle):
                stacked = torch.cat([h[None], tangents]).view((1 + DIM) * n, -1)
                out = functional.linear(stacked, middle[i]).view(1 + DIM, n, -1)
                a, tangents = out[0] + b[i + 1], out[1:]
        return functional.linear(h, last) + b[-1], (tangents * last[:, None, :]).sum((0, 2))


def plain(weights: list[Tensor], b: tuple[Tensor, ...], x: Tensor) -> Tensor:
    for i, weight in enumerate(weights[:-1]):
        x = functional.silu(functional.linear(x, weight, b[i]))
    return functional.linear(x, weights[-1], b[-1])


def autograd_network(weights: list[Tensor]) -> Network:
    """One reverse pass for each component of the output."""
    sizes = [weight.shape[0] for weight in weights]

    def network(x: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out = plain(weights, biases.split(sizes), x)
            sums = [out[:, i].sum() for i in range(DIM)]
            rows = [torch.autograd.grad(sums[i], x, retain_graph=i + 1 < DIM)[0][:, i] for i in range(DIM)]
        return out.detach(), sum(rows[1:], rows[0])

    return network


def jvp_network(weights: list[Tensor]) -> Network:
    """torch.func: vmap over the axes of jvp."""
    sizes = [weight.shape[0] for weight in weights]
    axes = torch.eye(DIM)

    def network(x: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
        b = biases.split(sizes)

        def along(axis: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(lambda y: plain(weights, b, y), (x,), (axis.expand_as(x),))

        out, derivative = torch.func.vmap(along, out_dims=(None, 0))(axes)
        return out, sum(derivative[i, :, i] for i in range(DIM))

    return network


def network_b(problem: Problem, make_network: Callable[[list[Tensor]], Network], options: Options, chunk: int) -> Run:
    """Work B, `chunk` paths at a time: the whole step compiled, or the network eager and the rest of it compiled."""
    model = problem.model
    assert isinstance(model, ops.MlpSource)
    network = make_network(list(model.weights))

    def rest(state: tuple[Tensor, ...], row: Tensor, z: Tensor, out: Tensor, divergence: Tensor, io: Tensor) -> Any:
        c, (mixture,) = split_row(row, False)
        x = list(state[:DIM])
        score = [io[0] * out[:, i] + io[1] * x[i] for i in range(DIM)]
        target = mixture_score(torch, mixture, x, False)
        return advance(c, state, [z[i] for i in range(DIM)], (score, io[0] * divergence + DIM * io[1]), target)

    def whole(state: tuple[Tensor, ...], row: Tensor, z: Tensor, biases: Tensor, io: Tensor) -> Any:
        return rest(state, row, z, *network(torch.stack(state[:DIM], 1), biases), io)

    if options is not None:
        step = torch.compile(whole, options=dict.fromkeys(options, True), dynamic=False, fullgraph=True)
    else:
        compiled_rest = torch.compile(rest, dynamic=False, fullgraph=True)

        def step(state: tuple[Tensor, ...], row: Tensor, z: Tensor, biases: Tensor, io: Tensor) -> Any:
            return compiled_rest(state, row, z, *network(torch.stack(state[:DIM], 1), biases), io)

    table, io = rows(problem, problem.steps), torch.stack([model.output_scale, model.skip], dim=1)
    buffers = [torch.empty(1, DIM, chunk) for _ in range(2)]

    def run(steps: int, noise: Tensor | None) -> Tensor:
        values = []
        with torch.no_grad():
            for first in range(0, problem.n, chunk):
                part = slice(first, first + chunk)
                given = None if noise is None else noise[:, :, part].contiguous()
                state = (*problem.x[part].T.contiguous(), *torch.zeros(DIM + 2, chunk))
                for k in range(steps + 1):
                    z = noise_block(buffers[k % 2], given, k)[0]
                    state = step(state, table[k], z, model.biases[k], io[k])
                values.append(state[-2])
        return torch.cat(values)

    return run


def peers_b(problem: Problem, quick: bool) -> list[Contestant]:
    """The perceptron's peers; all but torch.compile keep their network eager and compile the rest of the step."""

    def contestant(name: str, make: Callable[[list[Tensor]], Network], tunings: Tunings) -> Contestant:
        chunks = (problem.n,) if quick else (problem.n // 4, problem.n)
        plans = [(tuning, chunk) for tuning in tunings for chunk in chunks]
        candidates = {
            f"{chunk} paths at once" + "".join(f", {option}" for option in tuning or ()): _later(
                problem, make, tuning, chunk
            )
            for tuning, chunk in plans
        }
        return Contestant(name, "peer", candidates, problem.steps, problem.n)

    # freezing makes the weights constants, which lets inductor pack them and choose its own matrix kernels.
    tunings = ((), ("freezing",), ("freezing", "max_autotune"))[: 1 if quick else 3]
    return [
        contestant("torch.compile forward mode", StackedNetwork, tunings),
        contestant("torch autograd", autograd_network, (None,)),
        contestant("torch.func vmap(jvp)", jvp_network, (None,)),
    ]


def _later(
    problem: Problem, make: Callable[[list[Tensor]], Network], options: Options, chunk: int
) -> Callable[[], Run]:
    return lambda: network_b(problem, make, options, chunk)
