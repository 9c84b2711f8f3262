"""What was forgotten, and what paid for it: the recommended model beside the base and Retrain, image by image."""

from __future__ import annotations

from study.evidence import Witnesses, witnesses
from study.sections.attack import attack_html
from study.sections.called import called_html
from study.sections.classes import classes_html
from study.sections.confidences import confidences_html
from study.sections.figure import figures_html
from study.sections.html import Html, join, tag
from study.sections.source import Group, Source

_UNRECORDED = (
    "Which classes paid, how sure the model is of single images and what the forgotten ones are called now are not "
    "recorded: the trial was written by an earlier version, or its model's answers are no numbers. Trials that are "
    "measured from now on say it."
)


def evidence_html(group: Group, source: Source) -> Html | None:
    """What the recommended model does with which images, and what five attacks make of it."""
    title = tag("h4", "What was forgotten, and what paid for it")
    if group.recommendation.trial is None:
        return join(title, attack_html(group, source))
    seen = witnesses(source.by_trial[group.recommendation.trial], group.retrain)
    images = tag("p", _UNRECORDED, class_="note") if seen is None else _images(group, source, seen)
    return join(title, images, attack_html(group, source))


def _images(group: Group, source: Source, seen: Witnesses) -> Html:
    classes, by_class = classes_html(group, seen)
    confidences, by_confidence = confidences_html(group, source, seen)
    called, by_answer = called_html(group, seen)
    notes = _notes(seen, classes is None, called is None)
    return join(
        tag(
            "p",
            f"The recommended trial, {group.recommendation.trial}, on single images, beside the base that it started "
            "from and Retrain.",
            class_="note",
        ),
        figures_html(classes, called, confidences),
        tag("p", " ".join(notes), class_="note") if notes else None,
        tag(
            "details",
            tag("summary", "The same as tables"),
            [made for made in (by_class, by_answer, by_confidence) if made is not None],
        ),
    )


def _notes(seen: Witnesses, no_classes: bool, no_answers: bool) -> list[str]:
    """Why something is not shown."""
    unknown = any(seen.forgotten(one) is None for one in seen.recommended)
    found = []
    if unknown:
        found.append("Which classes were forgotten cannot be told without the names in Retrain's record.")
    elif no_answers:
        found.append(
            "What forgotten images are called is not shown: they are a random share, with images of every class."
        )
    if no_classes and not unknown:
        found.append("Accuracy by class is not shown: there is no record of the base by class to compare with.")
    if seen.unseen:
        found.append(f"{seen.unseen} replicates say nothing of single images and are left out.")
    return found
