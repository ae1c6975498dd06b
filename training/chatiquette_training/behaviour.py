"""Behavioural tests: small groups of messages that a fair model treats alike, or must not fault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from chatiquette.taxonomy import Role

from .messages import Labels, Language, Message, NonEmpty

INVARIANT = ("names", "gender", "nationality", "brand", "numbers")
"""Kinds whose messages differ in that alone, so that all of a group deserve the same labels."""


class BehaviouralTest(BaseModel):
    """A group of messages (Ribeiro et al. 2020).

    Attributes:
        kind: what varies within the group; or, for identity, complaint and dialect, what must not be faulted.
        texts: the messages.
        never: labels that none of them may get; empty for the kinds that vary something.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: NonEmpty
    lang: Language
    kind: Literal["names", "gender", "nationality", "brand", "numbers", "identity", "complaint", "dialect"]
    role: Role
    context: NonEmpty | None
    texts: Annotated[list[NonEmpty], Field(min_length=1)]
    never: Labels

    def model_post_init(self, _: object) -> None:
        """Refuses a group that tests nothing."""
        if self.kind in INVARIANT and (len(self.texts) < 2 or self.never):
            raise ValueError(f"texts: two or more for {self.kind!r}, and nothing in never")
        if self.kind not in INVARIANT and not self.never:
            raise ValueError(f"never: the labels that {self.kind!r} must not get")

    def messages(self) -> list[Message]:
        """Returns the texts as messages without labels."""
        return [
            Message(
                id=f"{self.id}-{number}",
                lang=self.lang,
                role=self.role,
                domain=self.kind,
                scenario=self.id,
                author="behaviour",
                context=self.context,
                text=text,
                labels=[],
            )
            for number, text in enumerate(self.texts, 1)
        ]


def behaviour_files(data: Path) -> list[Path]:
    """Returns the files of behavioural tests that the data set in the folder `data` has."""
    return sorted((data / "behaviour").glob("*.jsonl"))
