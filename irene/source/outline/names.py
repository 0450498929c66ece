"""Names of a file to what they stand for, and which classes are modules.

A class is a module when one of its bases leads to `torch.nn.Module`:
- through other classes of the file, aliases and imports, to a class of `torch.nn`;
- or to an imported class whose own file is not read here, by the names in
  `_MODULE_SUFFIXES`, which Transformers, Lightning and diffusers give to modules alone,
  or by a capitalised name imported from a file `modeling_*` or `modular_*`;
- or to any other imported class, when the class itself defines `forward(self, ...)` and
  the file mentions torch.
`nn` and `torch` mean what everybody means by them also where their import is missing or
half-typed.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable, Iterator

from irene.source.outline.reading import RawClass, RawFile

_MODULE_SUFFIXES = (
    "PreTrainedModel",
    "LightningModule",
    "GradientCheckpointingLayer",
    "ModelMixin",
    "PreTrainedAudioTokenizerBase",
)
_OTHER_WORLDS = frozenset(sys.stdlib_module_names) | {
    *(
        "numpy",
        "scipy",
        "pandas",
        "pydantic",
        "django",
        "sqlalchemy",
        "attr",
        "attrs",
        "typing_extensions",
    ),
    *("tensorflow", "keras", "tf", "jax", "flax", "haiku", "equinox", "paddle", "mlx", "tinygrad"),
}
"""Packages whose classes are never torch modules, whatever they are called."""

_NOT_MODULES = frozenset({"Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"})
_FACTORIES = frozenset({"from_config", "_from_config", "from_pretrained"})
_VALUE_SUFFIXES = ("Config", "Output", "Cache", "Args", "Arguments", "Tokenizer", "Error", "Kwargs")
_LIBRARY_FILES = frozenset(
    {"modeling_outputs", "modeling_utils", "modeling_layers", "modeling_attn_mask_utils"}
    | {"modeling_rope_utils", "modeling_flash_attention_utils", "modeling_gguf_pytorch_utils"}
)
"""Files of Transformers that are named like models and hold none."""

_CONVENTIONS = {"nn": "torch.nn", "torch": "torch"}
_MAX_ALIASES = 20


class Names:
    """What the names of one file stand for."""

    def __init__(self, raw: RawFile) -> None:
        self.by_name: dict[str, RawClass] = {it.name: it for it in raw.classes}
        self._mentions_torch = any(
            origin.partition(".")[0] in ("torch", "transformers") for _, origin in raw.imports
        )
        self._origins: dict[str, str] = {}
        self._stars = [origin for name, origin in raw.imports if name == "*"]
        for name, origin in raw.imports:
            if not self._origins.get(name, "").startswith("torch"):
                self._origins[name] = origin
        self._aliases = {it.name: it.dotted_value for it in raw.variables if it.dotted_value}
        self.tables = {it.name: it.names_in_value for it in raw.variables if it.names_in_value}
        self._modules = self._module_names()

    def is_module(self, class_name: str) -> bool:
        """Whether this class of the file leads to `torch.nn.Module`."""
        return class_name in self._modules

    def class_named(self, name: str, where: str) -> str | None:
        """Qualified name of the class of the file that `name` means inside class `where`."""
        for _ in range(_MAX_ALIASES):
            for prefix in _scopes(where):
                if prefix + name in self.by_name:
                    return prefix + name
            alias = self._aliases.get(name)
            if alias is None or alias == name:
                return None
            name = alias
        return None

    def resolve(self, name: str, where: str = "") -> str:
        """The dotted origin of a dotted name; a class of the file by its qualified name."""
        local = self.class_named(name, where)
        if local is not None:
            return local
        head, dot, rest = name.partition(".")
        for _ in range(_MAX_ALIASES):
            alias = None if head in self._origins else self._aliases.get(head)
            if alias is None or alias.partition(".")[0] == head:
                break
            head, dot, rest = f"{alias}{dot}{rest}".partition(".")
        origin = self._origins.get(head) or self._unbound(head)
        return f"{origin}{dot}{rest}"

    def is_constructor(self, name: str, where: str) -> bool | None:
        """Whether calling `name` gives a module; None where the name does not tell."""
        resolved = self.resolve(without_factory(name), where)
        if resolved in self.by_name:
            return self.is_module(resolved)
        if _leads_to_torch_nn(resolved):
            return True
        if not _may_lead_to_module(resolved):
            return False
        last = resolved.rpartition(".")[2]
        if not _is_capitalised(last):
            return None
        return not last.endswith(_VALUE_SUFFIXES)

    def _module_names(self) -> frozenset[str]:
        """Classes with a base that leads to a module, and all that derive from them."""
        derived: dict[str, list[str]] = {}
        waiting: list[str] = []
        for raw in self.by_name.values():
            bases = list(self.bases(raw))
            for base in bases:
                derived.setdefault(base, []).append(raw.name)
            outer = [base for base in bases if base not in self.by_name]
            if any(_leads_to_module(base) for base in outer) or (
                self._mentions_torch
                and _has_forward(raw)
                and any(_may_lead_to_module(base) for base in outer)
            ):
                waiting.append(raw.name)
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += derived.get(name, ())
        return frozenset(found)

    def bases(self, raw: RawClass) -> Iterator[str]:
        """The bases resolved; a class is not its own base although a name may say so."""
        where = raw.name.rpartition(".")[0]
        for base in raw.bases:
            resolved = self.resolve(base, where)
            yield base if resolved == raw.name else resolved

    def _unbound(self, head: str) -> str:
        """What a name without an import means by convention or through a star import."""
        if "torch.nn" in self._stars and _is_capitalised(head):
            return f"torch.nn.{head}"
        return _CONVENTIONS.get(head, head)


def without_factory(name: str) -> str:
    """`AutoModel` of `AutoModel.from_config`; any other name as it is."""
    owner, _, last = name.rpartition(".")
    return owner if owner and last in _FACTORIES else name


def _leads_to_module(dotted: str) -> bool:
    if _leads_to_torch_nn(dotted):
        return True
    owner, _, last = dotted.rpartition(".")
    if not _may_lead_to_module(dotted):
        return False
    if last.endswith(_MODULE_SUFFIXES):
        return True
    file = owner.rpartition(".")[2]
    is_model_file = file.startswith(("modeling_", "modular_")) and file not in _LIBRARY_FILES
    return is_model_file and _is_capitalised(last) and not last.endswith(_VALUE_SUFFIXES)


def _may_lead_to_module(dotted: str) -> bool:
    """Whether its package is one that could define modules; relative imports could."""
    package = dotted.partition(".")[0]
    return package not in (*_OTHER_WORLDS, "torch") and not hasattr(builtins, dotted)


def _leads_to_torch_nn(dotted: str) -> bool:
    parts = dotted.split(".")
    last = parts[-1]
    in_torch = parts[0] == "torch" and ("nn" in parts or "jit" in parts or "fx" in parts)
    return in_torch and _is_capitalised(last) and last not in _NOT_MODULES


def _is_capitalised(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def _has_forward(raw: RawClass) -> bool:
    return any(it.facts.name == "forward" and it.facts.is_method for it in raw.methods)


def _scopes(where: str) -> Iterable[str]:
    """`A.f.<locals>.`, `A.f.`..., "" : where a name may be defined, innermost first."""
    parts = where.split(".") if where else []
    return [".".join((*parts[:n], "")) if n else "" for n in range(len(parts), -1, -1)]
