"""The contract: 14 categories and 23 labels in a fixed order, each explained in every language."""

from __future__ import annotations

from chatiquette.taxonomy import CATEGORIES, LABEL_NAMES, LABELS, LANGUAGES

ORDER = """
greeting.followed greeting.violated politeness.followed politeness.violated language.violated empathy.followed
empathy.violated apology.followed honesty.followed honesty.violated positivity.followed positivity.violated
listening.followed listening.violated focus.violated resolution.followed resolution.violated timeliness.followed
timeliness.violated personalisation.followed closure.followed closure.violated feedback.followed
""".split()


def test_labels_are_the_contract() -> None:
    assert list(LABEL_NAMES) == ORDER
    assert len(CATEGORIES) == 14


def test_every_label_has_a_name_and_advice_of_its_own_in_every_language() -> None:
    for language in LANGUAGES:
        assert len({label.display[language] for label in LABELS}) == 23
        assert len({label.advice[language] for label in LABELS}) == 23


def test_what_people_know_the_two_labels_as() -> None:
    display = {label.name: label.display["en"] for label in LABELS}
    assert display["focus.violated"] == "off-topic"
    assert display["closure.followed"] == "proper closure"
