"""What torch itself runs on the CPU for a module, seen by nothing but a dispatch mode.

Shares no code with the tracer: what is free follows from the schemas of the operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from irene.tree import Trace, walk

Seen = tuple[str, str, tuple[tuple[int, ...], ...]]
"""Name, dtype of the arithmetic, shapes of the outputs."""

KERNELS = frozenset({"linear"})
"""Composite operations that a device runs as a kernel, so that they are not taken apart."""

ALLOCATIONS = frozenset(
    [
        "empty",
        "empty_like",
        "empty_strided",
        "empty_permuted",
        "new_empty",
        "new_empty_strided",
        "resize_",
        "set_",
        "_unsafe_view",
        "unsafe_split",
    ]
)

ALIKE = {"zeros": "fill_", "zero_": "fill_", "full": "fill_", "ones": "fill_", "copy_": "fill_"}
"""Names for writing one number everywhere.

`x[0] = 1.0` is a fill on the CPU; a device copies from a scalar that it makes first.
"""

FREE_ON_THE_CPU = frozenset({"scalar_tensor"})

STATISTICS = frozenset({"native_batch_norm", "_embedding_bag"})
"""Kernels whose further outputs are empty where they are not asked for, by device."""


class _Run(TorchDispatchMode):
    """Writes down each operation that computes or moves something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Seen] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # as torch calls it
        kwargs = kwargs or {}
        name = func._overloadpacket.__name__
        if name == "dropout" and not args[2]:
            return args[0]
        is_composite = torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        )
        if is_composite and name not in KERNELS:
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        # Before it runs: an operation in place may change what its arguments are.
        inputs = [it.dtype for it in _tensors((args, kwargs))]
        result = func(*args, **kwargs)
        outputs = _tensors(result)
        if outputs and not _is_free(func, name):
            dtypes = [*inputs, *(it.dtype for it in outputs)]
            computing = [it for it in dtypes if it.is_floating_point or it.is_complex]
            dtype = (computing or [it.dtype for it in outputs])[0]
            if func.namespace != "aten":
                name = f"{func.namespace}::{name}"
            shapes = tuple(tuple(it.shape) for it in outputs)
            self.seen[_comparable(name, str(dtype)[6:], shapes)] += 1
        return result


def really_run(model: nn.Module, args: tuple[object, ...]) -> Counter[Seen]:
    """How often each operation runs in one forward pass on the CPU."""
    with torch.inference_mode(), _Run() as run:
        model(*args)
    return run.seen


def traced_operations(trace: Trace) -> Counter[Seen]:
    """The same from a tree; what rides in another operation's kernel is no operation."""
    found: Counter[Seen] = Counter()
    for node, calls in walk(trace.root):
        operation = node.operation
        if operation is None or operation.name in FREE_ON_THE_CPU:
            continue
        if operation.n_kernels:
            name, shapes = operation.name, operation.output_shapes
            found[_comparable(name, operation.dtype, shapes)] += calls
    return found


def _comparable(name: str, dtype: str, shapes: tuple[tuple[int, ...], ...]) -> Seen:
    return ALIKE.get(name, name), dtype, shapes[:1] if name in STATISTICS else shapes


def _tensors(value: object) -> list[Tensor]:
    return [it for it in tree_leaves(value) if isinstance(it, Tensor)]


def _is_free(func: torch._ops.OpOverload, name: str) -> bool:
    """Whether an operation gives views of its inputs, or memory with nothing in it."""
    if name in ALLOCATIONS | FREE_ON_THE_CPU or torch.Tag.inplace_view in func.tags:
        return True
    aliases = [it.alias_info for it in func._schema.returns]
    return all(it is not None and not it.is_write for it in aliases)


def differences(expected: Counter[Seen], found: Counter[Seen], aside: Container[str]) -> list[str]:
    """One line for each operation that is in one of the two alone."""
    missing = [f"missing: {n} x {it}" for it, n in (expected - found).items() if it[0] not in aside]
    surplus = [f"surplus: {n} x {it}" for it, n in (found - expected).items() if it[0] not in aside]
    return sorted(missing) + sorted(surplus)
