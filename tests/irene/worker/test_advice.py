"""What a person is told to write, and where: never into the file of a library."""

from __future__ import annotations

import torch
from torch import nn

from irene.worker import advice


class Net(nn.Module):
    """A person's class."""


def test_a_person_s_class_gets_a_comment() -> None:
    assert advice.write(Net, "width=...", "x=float32[batch, ...]") == (
        "Write `# irene: Net(width=...), x=float32[batch, ...]` above the class."
    )
    assert advice.write_inputs(Net, "x=float32[8]") == (
        "Add it to the irene comment: `x=float32[8]`."
    )
    assert advice.correct("forward", __file__, "inputs of another shape") == (
        "Correct forward, or give inputs of another shape in an irene comment above the class."
    )


def test_a_class_of_a_library_gets_a_table_in_pyproject() -> None:
    table = '`[tool.irene.targets."torch.nn.modules.linear.Linear"]` in pyproject.toml'
    assert advice.write(nn.Linear, "in_features=...") == (
        f'Write `arguments = "in_features=..."` under {table}.'
    )
    assert advice.write(nn.Linear, "...", "input=float32[batch, ...]") == (
        f'Write `inputs = "input=float32[batch, ...]"` under {table}.'
    )
    assert advice.write_inputs(nn.Linear, "input=float32[8]") == (
        f"Add it to the inputs under {table}: `input=float32[8]`."
    )
    corrected = advice.correct("forward", torch.__file__, "inputs of another shape")
    assert "pyproject.toml" in corrected
    assert "--batch-size" in corrected
    assert "Correct" not in corrected


def test_a_config_folder_alone_has_no_class_to_stand_above() -> None:
    assert advice.correct("forward", "", "inputs of another shape") == (
        "Correct the config.json, or name the class beside it (FILE:CLASS) and give inputs of "
        "another shape."
    )
