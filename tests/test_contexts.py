"""Every quantity on one small problem under whatever a caller may have set: the same bits, or a named error."""

from __future__ import annotations

import ast
import contextlib
import json
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thermokern as tk
from thermokern.quantities.engine.batching import peak_bytes

CPU = torch.device("cpu")
PROCESS = tk.VP()


class Net(nn.Module):
    """A network that no kernel knows."""

    def __init__(self, key: int = 0) -> None:
        super().__init__()
        torch.manual_seed(key)
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(torch.sin(self.first(torch.cat([x, t[:, None]], 1))))


def models() -> dict[str, tk.ScoreModel]:
    torch.manual_seed(2)
    perceptron = tk.ScoreModel(tk.ScoreMLP(2, width=8, depth=1).requires_grad_(False), PROCESS, "epsilon")
    net = tk.ScoreModel(Net().requires_grad_(False), PROCESS, "epsilon", (2,))
    other = tk.ScoreModel(Net(1).requires_grad_(False), PROCESS, "epsilon", (2,))
    return {
        "perceptron": perceptron,
        "net": net,
        "guided": tk.guided(net, other, 0.5),
        "under": net.under(tk.CosineVP()),
    }


MODELS = models()
X = torch.randn(40, 2, generator=torch.Generator().manual_seed(3))
Y = torch.randn(40, 2, generator=torch.Generator().manual_seed(4))
FEW = X[:6]
LAW = tk.Gaussian([0.3, -0.2], [[1.0, 0.4], [0.4, 0.8]])
RING = tk.GaussianMixture.ring(3)
FORCE = tk.LinearForce([[1.0, 0.7], [-0.7, 1.0]])
JOINT = tk.JointGaussian([[1.0, 0.4], [0.4, 0.8]], [[1.0, 0.5]], 0.7)
PAIRS = JOINT.sample(8)
LOOSE = {"rtol": 1e-2, "atol": 1e-2}


def bend(x: Tensor, t: float) -> Tensor:
    return -x.pow(3) + x.flip(1)


def density(x: Tensor, t: float) -> Tensor:
    return -0.5 * x.square().sum(1)


QUANTITIES: dict[str, Callable[[], object]] = {
    "taep fused": lambda: tk.taep(MODELS["perceptron"], RING, n_paths=6, n_steps=8),
    "taep streamed": lambda: tk.taep(MODELS["net"], RING, n_paths=6, n_steps=8),
    "taep probes": lambda: tk.taep(MODELS["net"], RING, n_paths=6, n_steps=8, divergence="hutchinson"),
    "taep reverse": lambda: tk.taep(MODELS["guided"], RING, n_paths=6, n_steps=8, direction="reverse"),
    "taep reference": lambda: tk.taep(MODELS["net"], LAW, n_paths=6, n_steps=8, backend="reference", scheme="ito"),
    "taep laws": lambda: tk.taep(LAW, RING, PROCESS, n_paths=6, n_steps=8),
    "taep points": lambda: tk.taep(MODELS["net"], MODELS["perceptron"], x0=FEW, n_steps=8),
    "detailed": lambda: tk.detailed_fluctuation_theorem(
        *(tk.taep(LAW, RING, PROCESS, n_paths=60, n_steps=8, direction=way) for way in ("forward", "reverse")), bins=6
    ),
    "divergence": lambda: tk.divergence(MODELS["net"], FEW, 0.5),
    "divergence probes": lambda: tk.divergence(MODELS["net"], FEW, 0.5, method="hutchinson", probes=2),
    "rates fused": lambda: tk.entropy_rates(MODELS["perceptron"], RING, n_paths=6, n_steps=8),
    "rates": lambda: tk.entropy_rates(MODELS["net"], FEW, n_steps=8),
    "likelihood fused": lambda: tk.log_likelihood(MODELS["perceptron"], FEW, **LOOSE),
    "likelihood": lambda: tk.log_likelihood(MODELS["net"], FEW, dequantize=0.1, **LOOSE),
    "likelihood probes": lambda: tk.log_likelihood(MODELS["under"], FEW, divergence="hutchinson", **LOOSE),
    "elbo": lambda: tk.elbo(MODELS["net"], FEW, n_times=4),
    "elbo of a chain": lambda: tk.elbo(MODELS["net"], FEW, method="ddpm", n_steps=8),
    "limits": lambda: tk.limits(MODELS["net"], LAW, n_paths=6, n_steps=8, **LOOSE),
    "sample": lambda: tk.sample(MODELS["guided"], n=4, n_steps=8),
    "sample heun": lambda: tk.sample(MODELS["net"], n=4, n_steps=8, method="heun", denoise=True),
    "sample law": lambda: tk.sample(LAW, PROCESS, n=4, n_steps=8, method="ancestral"),
    "loss": lambda: tk.score_matching_loss(MODELS["net"], FEW, generator=torch.Generator().manual_seed(1)),
    "score": lambda: MODELS["net"](FEW, torch.linspace(0.1, 0.9, 6, device=CPU, dtype=torch.float32)),
    "law": lambda: LAW.evaluate(FEW, 0.4, PROCESS),
    "box": lambda: tk.UniformBox([-1.0, 0.0], [1.0, 2.0]).evaluate(FEW, 0.4, PROCESS),
    "roll": lambda: tk.SwissRoll().sample(5),
    "empirical": lambda: tk.Empirical(X).evaluate(FEW, 0.4, PROCESS),
    "dissipation fused": lambda: tk.entropy_production(FORCE, 1.0, LAW, n_paths=6, t_end=1.0, n_steps=8),
    "dissipation": lambda: tk.entropy_production(bend, 0.5, FEW, t_end=0.1, n_steps=8, stationary=density),
    "entropy": lambda: tk.kozachenko_leonenko(X),
    "histogram": lambda: tk.histogram_entropy(X[:, 0]),
    "table": lambda: tk.entropy_table(X),
    "information": lambda: tk.ksg_mutual_information(X[:, 0], Y[:, 0]),
    "total correlation": lambda: tk.knn_total_correlation(X),
    "kl": lambda: tk.knn_divergence(X, Y),
    "coverage": lambda: tk.coverage(X, Y),
    "tree": lambda: tk.KDTree(X).query(Y, 3),
    "neural entropy": lambda: tk.neural_entropy(MODELS["net"], X, evaluations=512),
    "mutual information": lambda: tk.mutual_information(
        JOINT, x=PAIRS[0], y=PAIRS[1], process=PROCESS, evaluations=512
    ),
    "pointwise": lambda: tk.pointwise_mutual_information(JOINT, None, PAIRS[0], PAIRS[1], PROCESS),
    "total correlation of scores": lambda: tk.total_correlation(LAW, process=PROCESS, evaluations=512),
    "grids": lambda: [
        process.grid(8) for process in (PROCESS, tk.EDM(), tk.VE(), tk.SubVP(), tk.CosineVP(), tk.Flow())
    ],
}


def bits(result: object) -> str:
    """All numbers of a result, to the last bit."""
    if isinstance(result, Tensor):
        return f"{result.dtype} {result.device} {result.detach().cpu().contiguous().numpy().tobytes().hex()}"
    if isinstance(result, list | tuple):
        return ", ".join(map(bits, result))
    assert isinstance(result, tk.Result), type(result)
    columns: dict[str, object] = {}
    with contextlib.suppress(TypeError):
        columns = dict(result.columns())
    rows = {name: bits(column) for name, column in columns.items() if isinstance(column, Tensor)}
    return json.dumps({"numbers": result.to_json(), "rows": rows}, sort_keys=True)


def digests(names: list[str] | None = None) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few paths and points
        return {name: bits(QUANTITIES[name]()) for name in names or QUANTITIES}


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    return digests()


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CONTEXTS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "meta by default": lambda: default_device("meta"),
}
# What is an error, and says what to do: what a caller asks of a network directly follows the caller's precision.
ERRORS = {("autocast", "loss"): "torch.autocast is on: call it outside", ("autocast", "score"): "torch.autocast is on"}


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("context", CONTEXTS)
def test_the_callers_context_changes_no_bit(context: str, quantity: str, expected: dict[str, str]) -> None:
    with CONTEXTS[context]():
        if error := ERRORS.get((context, quantity)):
            with pytest.raises(ValueError, match=error):
                digests([quantity])
            return
        found = digests([quantity])[quantity]
    assert found == expected[quantity]


TAKERS: dict[str, Callable[[object], object]] = {
    "taep": lambda x: tk.taep(MODELS["net"], RING, x0=x, n_steps=8),
    "rates": lambda x: tk.entropy_rates(MODELS["net"], x, n_steps=8),
    "likelihood": lambda x: tk.log_likelihood(MODELS["net"], x, **LOOSE),
    "elbo": lambda x: tk.elbo(MODELS["net"], x, n_times=4),
    "limits": lambda x: tk.limits(MODELS["net"], x, n_steps=8, **LOOSE),
    "dissipation": lambda x: tk.entropy_production(bend, 0.5, x, t_end=0.1, n_steps=8),
    "entropy": tk.kozachenko_leonenko,
    "information": lambda x: tk.ksg_mutual_information(x, Y.double()),
    "kl": lambda x: tk.knn_divergence(x, Y.double()),
    "coverage": lambda x: tk.coverage(x, Y.double()),
    "empirical": lambda x: tk.Empirical(x).evaluate(FEW, 0.4, PROCESS),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_arrays_of_any_layout_are_the_same_points(taker: str) -> None:
    """Negative strides, other byte orders, read-only and long-double arrays; masks and imaginary parts are named."""
    take, plain = TAKERS[taker], np.array(X.numpy(), dtype=np.float64)
    frozen = plain.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = bits(take(plain))
        layouts = {
            "reversed": plain[::-1].copy()[::-1],
            "Fortran": np.asfortranarray(plain),
            "big-endian": plain.astype(">f8"),
            "read-only": frozen,
            "long double": plain.astype(np.longdouble),
            "unmasked": np.ma.MaskedArray(plain, mask=False),
        }
        for layout, array in layouts.items():
            assert bits(take(array)) == expected, layout
    for bad in (np.ma.MaskedArray(plain, mask=plain > 1.0), plain + 1j):
        with pytest.raises((ValueError, TypeError), match=r"^\w+: expected"):
            take(bad)


# ---- threads


def test_threads_do_not_disturb_each_other_nor_bystanders(expected: dict[str, str]) -> None:
    """60 calls from four threads, beside one that minds its own networks."""
    names = ["taep fused", "taep streamed", "likelihood fused", "rates fused", "divergence"]
    call, lookup = nn.Module.__call__, nn.Module.__getattr__
    calls, wrong = run_threads(names, 15, expected)
    assert (calls, wrong) == (60, [])
    assert (nn.Module.__call__, nn.Module.__getattr__) == (call, lookup)


def run_threads(names: list[str], rounds: int, expected: dict[str, str], least: int = 2000) -> tuple[int, list[str]]:
    """Calls that were made, and what went wrong in them or with at least so many forwards of a bystander."""
    done, failures, forwards = [], [], 0
    finished = threading.Event()

    def work(first: int) -> None:
        for i in range(rounds):
            name = names[(first + i) % len(names)]
            try:
                if bits(QUANTITIES[name]()) != expected[name]:
                    failures.append(f"{name}: other bits")
            except Exception as error:
                failures.append(f"{name}: {error!r}")
            done.append(name)

    def stand_by() -> None:
        nonlocal forwards
        network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).requires_grad_(False)
        right = network(FEW)
        while forwards < least or not finished.is_set():
            forwards += 1
            try:
                if not torch.equal(network(FEW), right):
                    failures.append("bystander: other bits")
            except Exception as error:
                failures.append(f"bystander: {error!r}")

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    bystander = threading.Thread(target=stand_by)
    interval = sys.getswitchinterval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.setswitchinterval(1e-5)  # threads meet often
        for thread in (*workers, bystander):
            thread.start()
        for thread in workers:
            thread.join()
        finished.set()
        bystander.join()
        sys.setswitchinterval(interval)
    return len(done), failures


# ---- processes

OF_PROCESSES = ["taep fused", "taep streamed", "likelihood", "rates fused", "entropy", "coverage", "sample"]


class Asked(torch.utils.data.Dataset[str]):
    def __len__(self) -> int:
        return len(OF_PROCESSES)

    def __getitem__(self, index: int) -> str:
        return digests([OF_PROCESSES[index]])[OF_PROCESSES[index]]


def test_a_forked_worker_of_a_data_loader_computes_the_same(expected: dict[str, str]) -> None:
    loader = torch.utils.data.DataLoader(
        Asked(), batch_size=None, num_workers=1, timeout=60, multiprocessing_context="fork"
    )
    assert list(loader) == [expected[name] for name in OF_PROCESSES]


def asked_of_copies(received: dict[str, tk.ScoreModel], queue: multiprocessing.Queue[object]) -> None:
    torch.set_num_threads(1)
    try:
        queue.put({name: bits(model(FEW, 0.5)) for name, model in received.items()} | digests(["taep streamed"]))
    except Exception as error:
        queue.put(repr(error))


def test_pickled_models_in_a_process_that_was_spawned(expected: dict[str, str]) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[object] = context.Queue()
    process = context.Process(target=asked_of_copies, args=(MODELS, queue))
    process.start()
    found = queue.get(timeout=120)
    process.join()
    assert found == {name: bits(model(FEW, 0.5)) for name, model in MODELS.items()} | {
        "taep streamed": expected["taep streamed"]
    }


# ---- what stays behind


def test_measuring_memory_leaves_nothing_behind() -> None:
    """Finalisers of storages that live on, such as those of parameters, held the meter that had counted them."""
    import weakref

    network, meters = Net(), []
    for _ in range(3):
        seen: list[object] = []

        def evaluate(seen: list[object] = seen) -> None:
            meter = torch.utils._python_dispatch._get_current_dispatch_mode()
            seen.append(weakref.ref(meter))
            network(FEW, FEW[:, 0])

        peak_bytes(evaluate)
        meters.append(seen[0])
    import gc

    gc.collect()
    assert [meter() for meter in meters] == [None] * 3


# ---- devices

FACTORIES = {"tensor", "as_tensor", "zeros", "ones", "full", "empty", "arange", "eye", "linspace", "rand", "randn"} | {
    "randint",
    "randperm",
}
FOLLOWS_THE_CALLER = ("perceptron.py", "conditional_mlp.py")  # a network is made where its caller wants it


def test_every_tensor_is_made_on_a_named_device() -> None:
    """So that another default device moves none of them."""
    unnamed = []
    for path in Path(tk.__file__).parent.rglob("*.py"):
        if "papers" in path.parts or path.name in FOLLOWS_THE_CALLER:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                made = ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES
                if made and "device" not in {keyword.arg for keyword in node.keywords}:
                    unnamed.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert unnamed == []
