"""The conversation: whole chats with labelled turns and verdicts on the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime

from chatiquette.taxonomy import Role

from .messages import Labels, Language, Message, NonEmpty, check_labels

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Turn(BaseModel):
    """One message of a conversation.

    Attributes:
        agent: who of the agents writes, or None for the customer.
        time: when it was sent, ISO 8601 without a time zone.
        annotations: what each reader labelled, its author first; empty where there was no reading but that.
    """

    model_config = _STRICT

    role: Role
    agent: NonEmpty | None
    time: Annotated[NaiveDatetime, Field(strict=False)]  # JSON has no dates of its own
    text: NonEmpty
    labels: Labels
    annotations: list[Labels] = []

    def model_post_init(self, _: object) -> None:
        """Refuses a turn whose role and agent contradict each other, and labels that a customer can't show."""
        if (self.role == "agent") != (self.agent is not None):
            raise ValueError("agent: a name for an agent's turn, null for a customer's")
        check_labels(self.role, self.labels, self.annotations)


class Verdicts(BaseModel):
    """What is said of a whole conversation."""

    model_config = _STRICT

    opened_properly: bool
    closed_properly: bool
    customer_kept_waiting: bool


class Conversation(BaseModel):
    """One chat between a customer and one agent or more, from its first message to its last."""

    model_config = _STRICT

    id: NonEmpty
    lang: Language
    domain: NonEmpty
    author: NonEmpty
    turns: Annotated[list[Turn], Field(min_length=1)]
    verdicts: Verdicts
    annotations: list[Verdicts] = []

    def model_post_init(self, _: object) -> None:
        """Refuses turns that stand out of order."""
        for before, after in pairwise(self.turns):
            if after.time < before.time:
                raise ValueError(f"turns: {after.time} stands after {before.time}")

    def messages(self) -> list[Message]:
        """Returns the turns as messages, each with the last message before it by the other side as its context."""
        last: dict[Role, str] = {}
        messages = []
        for number, turn in enumerate(self.turns, 1):
            messages.append(
                Message(
                    id=f"{self.id}-{number:02}",
                    lang=self.lang,
                    role=turn.role,
                    domain=self.domain,
                    scenario=self.id,
                    author=self.author,
                    context=last.get("customer" if turn.role == "agent" else "agent"),
                    text=turn.text,
                    labels=turn.labels,
                    annotations=turn.annotations,
                )
            )
            last[turn.role] = turn.text
        return messages
