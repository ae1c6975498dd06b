"""The bundle: a folder with the exported model, laid out as the ecosystem expects it and sealed with checksums."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
QUANTIZED_GRAPH = "onnx/model_quantized.onnx"
METADATA = "metadata.json"
CHECKSUMS = "SHA256SUMS"

SCHEMA_VERSION = 1
"""The layout that this version reads and writes; a bundle says its own in ``metadata.json``."""

BUNDLED = Path(__file__).parent / "model"
"""The bundle that is installed with the package."""


class BundleError(ValueError):
    """Raised for a folder that is no bundle, or whose files are missing, changed or of a newer layout."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: the folder and what its files say.

    Attributes:
        folder: where it is.
        labels: the model's outputs, in order.
        max_length: the most tokens the model reads, message and context together.
        bos, eos: the ids of the tokens that open and end a message.
        metadata: how the model was made and what it scored.
    """

    folder: Path
    labels: tuple[str, ...]
    max_length: int
    bos: int
    eos: int
    metadata: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Reads and verifies the files that inference needs.

        Raises:
            BundleError: the folder is no bundle, a file is missing or changed, or the layout is newer than this version.
        """
        sums = _read_checksums(folder)
        _verify(folder, METADATA, sums)
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if metadata["schema_version"] > SCHEMA_VERSION:
            raise BundleError(
                f"{folder}: written in layout {metadata['schema_version']}, this version reads up to {SCHEMA_VERSION}; "
                "run: pip install --upgrade chatiquette"
            )
        for name in (CONFIG, TOKENIZER, TOKENIZER_CONFIG, QUANTIZED_GRAPH):
            _verify(folder, name, sums)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tokenizer_config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
        labels = tuple(config["id2label"][str(i)] for i in range(len(config["id2label"])))
        max_length = tokenizer_config["model_max_length"]
        return cls(folder, labels, max_length, config["bos_token_id"], config["eos_token_id"], metadata)


def verify(folder: Path) -> Bundle:
    """Checks every file of a bundle, those that inference doesn't need too, and returns it.

    Raises:
        BundleError: the folder is no bundle, a file is missing, changed or unlisted, or the layout is newer than this version.
    """
    sums = _read_checksums(folder)
    for name in sums:
        _verify(folder, name, sums)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if unlisted := sorted(present - set(sums) - {CHECKSUMS}):
        raise BundleError(f"{folder / unlisted[0]}: not listed in {CHECKSUMS}; it doesn't belong to the bundle")
    return Bundle.open(folder)


def is_bundle(folder: Path) -> bool:
    """Tells whether the folder looks like a bundle, sound or not."""
    return (folder / CHECKSUMS).is_file() and (folder / METADATA).is_file()


def sha256(path: Path) -> str:
    """Returns the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_checksums(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    if not path.is_file():
        raise BundleError(
            f"{folder}: no bundle here ({CHECKSUMS} is missing); give a folder that `chatiquette export` wrote"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _verify(folder: Path, name: str, sums: dict[str, str]) -> None:
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path}: the file is missing from the bundle; export or install it again")
    if sha256(path) != sums.get(name):
        raise BundleError(
            f"{path}: the file differs from its checksum in {CHECKSUMS}: it is damaged or was changed; "
            "export or install the bundle again"
        )
