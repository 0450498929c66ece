"""Which classes of a file can be built on their own, and which one people mean by it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from irene.source.outline import ClassOutline, Outline

PRETRAINED = "PreTrainedModel"
CONFIG_NAMES = ("config", "cfg", "args")


def covered_by(outlined: Outline, class_name: str) -> frozenset[str]:
    """The classes of the file that a class contains, over any number of steps, itself left out.

    A class also contains what its bases in the file construct.
    """
    by_name = {it.name: it for it in outlined.classes}
    found: set[str] = set()
    pending = [class_name]
    while pending:
        outlined_class = by_name.get(pending.pop())
        if outlined_class is None:
            continue
        inherited = [it for it in outlined_class.bases if it in by_name]
        parts = [name for base in inherited for name in by_name[base].instantiates]
        new = {*outlined_class.instantiates, *parts} - found
        found |= new
        pending.extend(new)
    return frozenset(found - {class_name})


def is_buildable(outlined_class: ClassOutline, outlined: Outline) -> bool:
    """Whether a class is a module with a forward, its own or inherited, and no mere base."""
    name = outlined_class.name.rpartition(".")[2]
    if (
        not outlined_class.is_module
        or name.endswith(PRETRAINED)
        or "<locals>" in outlined_class.name
    ):
        return False
    if outlined_class.forward is not None:
        return True
    by_name = {it.name: it for it in outlined.classes}
    foreign = [it for it in outlined_class.bases if it not in by_name]
    if any(it != "torch.nn.Module" and not it.endswith(PRETRAINED) for it in foreign):
        return True  # inherits from a layer, or from a class of another file
    return any(
        base in by_name and is_buildable(by_name[base], outlined) for base in outlined_class.bases
    )


def missing_arguments(outlined_class: ClassOutline) -> tuple[str, ...]:
    """The parameters of a constructor that nothing but a person gives a value.

    Left out are those with a default, and a config: the worker finds its class.
    """
    init = outlined_class.init
    return tuple(
        it.name
        for it in (init.parameters if init else ())
        if it.default is None
        and it.kind in ("positional", "keyword-only")
        and it.name not in CONFIG_NAMES
        and not (it.annotation or "").strip("\"'").lower().endswith(CONFIG_NAMES)
    )


def roots_of(outlined: Outline, names: Collection[str]) -> tuple[str, ...]:
    """The classes that no other one of `names` contains, in order of the file."""
    contained = {part for name in names for part in covered_by(outlined, name)}
    return tuple(name for name in names if name not in contained)


def default_choice(outlined: Outline, names: Sequence[str], described: Sequence[str]) -> str | None:
    """The class that people mean by a file: described, else the base model, else the largest.

    The base model of a Transformers file is `BertModel` where there is a
    `BertPreTrainedModel`. The largest covers most classes; of equals, the last in the file.
    """
    if described:
        return max(described, key=lambda name: _size(outlined, name))
    base_models = [
        f"{it.name.removesuffix(PRETRAINED)}Model"
        for it in outlined.classes
        if it.name.endswith(PRETRAINED)
    ]
    named = [name for name in base_models if name in names]
    roots = roots_of(outlined, names)
    choices = named or list(roots) or list(names)
    if not choices:
        return None
    return max(reversed(choices), key=lambda name: _size(outlined, name))


def _size(outlined: Outline, name: str) -> int:
    return len(covered_by(outlined, name))
