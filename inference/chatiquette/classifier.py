"""The inference API: messages in, etiquette verdicts out."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import onnxruntime

from .bundle import BUNDLED, QUANTIZED_GRAPH, TOKENIZER, Bundle
from .encoding import Encoded, Encoder, pad
from .taxonomy import CUSTOMER_LABELS, ROLES, Role

Probabilities = npt.NDArray[np.float32]
Context = str | Sequence[str | None] | None

_THRESHOLD = 0.5  # the tuned decision of every label: the export folds calibration into the model
_CALL_TOKENS = 512  # tokens of one call of the model, padding and all: more only leave the processor's caches
_CHUNK = 1024  # messages of a stream that are sorted by length together


@dataclass(frozen=True)
class Message:
    """A message to classify.

    Attributes:
        text: what was written.
        context: the message just before, by the other side, or None.
        role: who wrote the text.
    """

    text: str
    context: str | None = None
    role: Role = "agent"


@dataclass(frozen=True)
class Prediction:
    """What the model says of one message.

    Attributes:
        labels: the labels with a probability of at least 0.5, in the model's order.
        verdicts: category → ``"followed"`` or ``"violated"``; where both were found, ``"violated"`` wins.
        probabilities: label → calibrated probability, 0 to 1.
        tokens: how many tokens the model read, message and context together.
        truncated: whether message or context was too long and was cut.
    """

    labels: tuple[str, ...]
    verdicts: dict[str, str]
    probabilities: dict[str, float]
    tokens: int
    truncated: bool

    def __repr__(self) -> str:
        shown = ", ".join(f"{label} {self.probabilities[label]:.2f}" for label in self.labels) or "no label"
        return f"<Prediction: {shown}; {self.tokens} tokens{', truncated' if self.truncated else ''}>"


class EtiquetteClassifier:
    """Classifies chat messages by the rules of etiquette.

    >>> clf = EtiquetteClassifier.load()
    >>> clf.predict("Done. Bye.", context="Thanks, that solved it!").verdicts["closure"]
    'violated'
    """

    def __init__(self, bundle: Bundle, threads: int, max_length: int) -> None:
        self.bundle = bundle
        self._max_length = max_length
        self._encoder = Encoder(bundle.folder / TOKENIZER, max_length, bundle.bos, bundle.eos)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            bundle.folder / QUANTIZED_GRAPH, options, providers=["CPUExecutionProvider"]
        )

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, threads: int = 1, max_length: int | None = None
    ) -> EtiquetteClassifier:
        """Loads a bundle and verifies its checksums.

        Args:
            path: a folder that ``chatiquette export`` wrote; None takes the model that is installed with the package.
            threads: processor threads for one call. For bulk work `stream` with several processes is faster.
            max_length: tokens read of message and context together; None takes the bundle's limit.

        Raises:
            BundleError: the folder is no bundle, or a file is missing or changed.
            ValueError: a knob is out of its range.
        """
        bundle = Bundle.open(Path(path) if path is not None else BUNDLED)
        length = bundle.max_length if max_length is None else max_length
        if threads < 1:
            raise ValueError(f"threads should be at least 1, got {threads}")
        if not 8 <= length <= bundle.max_length:
            raise ValueError(f"max_length should be 8 to {bundle.max_length} tokens, got {length}")
        return cls(bundle, threads, length)

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels, in the order of its outputs."""
        return self.bundle.labels

    # A string is a sequence of strings too; type checkers take the first overload that fits, as meant.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, texts: str, context: str | None = None, role: Role = "agent"
    ) -> Prediction: ...

    @overload
    def predict(
        self, texts: Sequence[str], context: Context = None, role: Role | Sequence[Role] = "agent"
    ) -> list[Prediction]: ...

    def predict(
        self, texts: str | Sequence[str], context: Context = None, role: Role | Sequence[Role] = "agent"
    ) -> Prediction | list[Prediction]:
        """Classifies one message, or each of several.

        Args:
            texts: a message, or a list of messages. An empty message shows nothing: all its probabilities are 0.
            context: the message just before by the other side: one string for all texts, or a list of strings and Nones
                as long as the texts.
            role: who wrote the text: one for all, or a list as long as the texts. Only politeness, language and focus are
                asked of a customer; the other labels' probabilities are 0 then.

        Returns:
            A Prediction for a string, a list of them, in the same order, for a list.

        Raises:
            TypeError: a text or context is no string.
            ValueError: the list of contexts or roles is not as long as the texts, or a role is neither.
        """
        many = _checked_texts(texts)
        roles = _checked_roles(role, len(many))
        encoded = self._encoder.encode(many, _checked_contexts(context, len(many)))
        predictions = [
            self._prediction(row, one) for row, one in zip(self._probabilities(encoded, roles), encoded, strict=True)
        ]
        return predictions[0] if isinstance(texts, str) else predictions

    def predict_proba(
        self, texts: str | Sequence[str], context: Context = None, role: Role | Sequence[Role] = "agent"
    ) -> Probabilities:
        """Returns the calibrated probability of every label: float32 ``[messages, 23]``, in the order of `labels`.

        Arguments and errors are those of `predict`; a single string gives one row.
        """
        many = _checked_texts(texts)
        roles = _checked_roles(role, len(many))
        return self._probabilities(self._encoder.encode(many, _checked_contexts(context, len(many))), roles)

    def stream(self, messages: Iterable[Message], *, processes: int = 1) -> Generator[Prediction, None, None]:
        """Classifies messages as they come and gives their predictions in the same order, however many there are.

        Messages are taken a thousand at a time, so that those of similar length can be read together, and nothing comes out
        before the first thousand went in or the messages ended. Two thousand a process are held at most, with their
        predictions. Processes are started with the first message and stopped with the last, or when the iterator is
        closed; each runs one thread and loads the model anew.

        Args:
            messages: any iterable, such as a generator that reads a file.
            processes: how many share the work; 1 does it all here. Scripts that ask for more need the usual
                ``if __name__ == "__main__":``.

        Raises:
            ValueError: `processes` is less than 1; while iterating: a role is neither agent nor customer.
            TypeError: while iterating: something is no Message, or its text or context no string.
            concurrent.futures.BrokenExecutor: while iterating: a process couldn't start, or was stopped from outside.
        """
        if processes < 1:
            raise ValueError(f"processes should be at least 1, got {processes}")
        chunks = _chunks(messages)
        return self._stream(chunks) if processes == 1 else self._stream_shared(chunks, processes)

    def _stream(self, chunks: Iterator[list[Message]]) -> Generator[Prediction, None, None]:
        for chunk in chunks:
            yield from self._predict(chunk)

    def _stream_shared(self, chunks: Iterator[list[Message]], processes: int) -> Generator[Prediction, None, None]:
        start = (self.bundle.folder.resolve(), self._max_length)
        pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start, initargs=start)
        # One chunk waits for each that is worked on: no process idles, and no more is read ahead.
        waiting: deque[Future[list[Prediction]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_predict, chunk))
                if len(waiting) == 2 * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _predict(self, chunk: list[Message]) -> list[Prediction]:
        return self.predict([one.text for one in chunk], [one.context for one in chunk], [one.role for one in chunk])

    def _probabilities(self, encoded: list[Encoded], roles: list[Role]) -> Probabilities:
        probabilities = np.zeros((len(encoded), len(self.labels)), np.float32)
        for rows in self._batches(encoded):
            ids, mask = pad([encoded[row] for row in rows])
            (logits,) = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
            with np.errstate(over="ignore"):  # beyond float32's range the probability is 0, as it comes out
                probabilities[rows] = 1 / (1 + np.exp(-logits))
        customers = [i for i, role in enumerate(roles) if role == "customer"]
        agents_only = [i for i, label in enumerate(self.labels) if label not in CUSTOMER_LABELS]
        probabilities[np.ix_(customers, agents_only)] = 0
        return probabilities

    @staticmethod
    def _batches(encoded: list[Encoded]) -> Iterator[list[int]]:
        """Gives the rows of non-empty messages in batches of similar length, so that little padding is computed."""
        batch: list[int] = []
        for row in sorted((i for i, one in enumerate(encoded) if not one.empty), key=lambda i: len(encoded[i].ids)):
            if batch and (len(batch) + 1) * len(encoded[row].ids) > _CALL_TOKENS:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _prediction(self, row: Probabilities, encoded: Encoded) -> Prediction:
        probabilities = dict(zip(self.labels, row.tolist(), strict=True))
        labels = tuple(label for label, probability in probabilities.items() if probability >= _THRESHOLD)
        # "violated" sorts after "followed" in the fixed order of labels, so it replaces it.
        verdicts = dict(label.split(".", 1) for label in labels)
        return Prediction(labels, verdicts, probabilities, len(encoded.ids), encoded.truncated)


_worker: EtiquetteClassifier | None = None
"""The classifier of a process that `stream` started."""


def _start(folder: Path, max_length: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for this one
    _worker = EtiquetteClassifier.load(folder, max_length=max_length)


def _predict(chunk: list[Message]) -> list[Prediction]:
    assert _worker is not None
    return _worker._predict(chunk)


def _chunks(messages: Iterable[Message]) -> Iterator[list[Message]]:
    iterator = (_checked(i, one) for i, one in enumerate(messages))
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _checked(i: int, message: Message) -> Message:
    if not isinstance(message, Message):
        raise TypeError(f"message {i}: should be a Message, got {type(message).__name__}")
    if not isinstance(message.text, str):
        raise TypeError(f"message {i}: text should be a string, got {type(message.text).__name__}")
    if not isinstance(message.context, str | None):
        raise TypeError(f"message {i}: context should be a string or None, got {type(message.context).__name__}")
    if message.role not in ROLES:
        raise ValueError(f"message {i}: role should be 'agent' or 'customer', got {message.role!r}")
    return message


def _checked_texts(texts: str | Sequence[str]) -> list[str]:
    if not isinstance(texts, Sequence):
        raise TypeError(f"texts: should be a string or a list of strings, got {type(texts).__name__}")
    many = [texts] if isinstance(texts, str) else list(texts)
    for i, text in enumerate(many):
        if not isinstance(text, str):
            raise TypeError(f"text {i}: should be a string, got {type(text).__name__}")
    return many


def _checked_contexts(context: Context, count: int) -> list[str | None]:
    if context is None or isinstance(context, str):
        return [context] * count
    if not isinstance(context, Sequence):
        raise TypeError(f"context: should be a string, None or a list of them, got {type(context).__name__}")
    contexts = list(context)
    if len(contexts) != count:
        raise ValueError(
            f"{len(contexts)} contexts for {count} texts: give one for each text, None where there is none"
        )
    for i, one in enumerate(contexts):
        if one is not None and not isinstance(one, str):
            raise TypeError(f"context {i}: should be a string or None, got {type(one).__name__}")
    return contexts


def _checked_roles(role: Role | Sequence[Role], count: int) -> list[Role]:
    roles: list[Role] = [role] * count if isinstance(role, str) else list(role)
    if len(roles) != count:
        raise ValueError(f"{len(roles)} roles for {count} texts: give one for each text")
    for i, one in enumerate(roles):
        if one not in ROLES:
            raise ValueError(f"role {i}: should be 'agent' or 'customer', got {one!r}")
    return roles
