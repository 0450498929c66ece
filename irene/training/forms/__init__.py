"""The two forms of measured data, JSONL trees and four CSV files: read, checked, written."""

from __future__ import annotations

from pathlib import Path

from irene.errors import DatasetError
from irene.training.forms.csv_files import read_csv_folder, write_csv_folder
from irene.training.forms.jsonl_trees import read_jsonl, write_jsonl
from irene.training.measurements import Dataset

__all__ = ["read_dataset", "write_csv_folder", "write_jsonl"]


def read_dataset(path: Path, *, with_energies: bool = True) -> Dataset:
    """A folder of four CSV files, or a JSONL file of trees.

    Args:
        path: the folder or file.
        with_energies: whether each node must have a measured energy; False for data that
            is only to be predicted.

    Raises:
        DatasetError: nothing is there, or it cannot be used; file and line are named.
    """
    if path.is_dir():
        dataset = read_csv_folder(path, with_energies=with_energies)
    elif path.is_file():
        dataset = read_jsonl(path, with_energies=with_energies)
    else:
        raise DatasetError(f"{path}: no such folder or file; give a folder with the four CSV files")
    if not dataset.cells:
        raise DatasetError(f"{path}: no measured node in it; the file is empty")
    return dataset
