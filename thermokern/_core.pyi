"""CPU kernels of thermokern, and constants. Outputs are allocated by the caller."""

from collections.abc import Callable, Sequence
from typing import Any

from thermokern._kernels import *

instruction_set: str
instruction_sets: tuple[str, ...]
best_instruction_set: str
lanes: int

MAX_DIM: int
MAX_GAP_DIM: int
MAX_GAP_CONDITIONS: int
MAX_GAP_FEATURES: int
MAX_WIDTH: int
MAX_LAYERS: int
NODE_COLUMNS: int
RATE_COLUMNS: int
FLOW_COLUMNS: int
OBSERVABLES: int
FLOW_FIRST_LEVEL: int
FLOW_COARSEST_LEVEL: int
FLOW_FINEST_LEVEL: int
FLOW_GROWTH: float
LEAF_UNIT: int
LARGEST_LEAF: int
LARGEST_LIST: int
PURPOSES: tuple[str, ...]
ACTIVATIONS: tuple[str, ...]
PRODUCTS: tuple[str, ...]
PROBES: tuple[str, ...]

def watch(called: Callable[[float], object] | None) -> None: ...
def philox(counter: Sequence[int], seed: int) -> list[int]: ...
def evaluate(function: str, x: Any, out: Any) -> None: ...
