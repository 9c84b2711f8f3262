"""What a reader should know before believing a number: warnings in plain words."""

from __future__ import annotations

from neglora.objectives import TOW_METRICS
from study.aggregate import shown
from study.asked import asked_trials
from study.recommend import FORGOTTEN, candidates, nearest_without_attack
from study.sections.source import Group, Source
from study.stages import one_per_trial

#: A model that keeps less than this share of the base's retain accuracy has collapsed.
COLLAPSED = 0.5


def cautions(source: Source) -> list[str]:
    """Every warning that applies to the study, the most general first; empty where there is nothing to say."""
    return [*study_cautions(source), *(text for group in source.groups for text in group_cautions(group, source))]


def study_cautions(source: Source) -> list[str]:
    """What applies to every number of the study."""
    return [*_protocol(source), *_unfinished(source)]


def group_cautions(group: Group, source: Source) -> list[str]:
    """What applies to the numbers of one dataset x model."""
    return [
        *_references(group),
        *_outcomes(group, forgets_classes(source)),
        *_attack(group, source),
        *_hidden(group, source),
    ]


def _protocol(source: Source) -> list[str]:
    found = []
    if (source.space.get("selection") or {}).get("holdout", 0) == 0:
        found.append(
            "Selected on the test set: settings were chosen on the images that they are reported on, as in the paper, "
            "so that TA and MIA are optimistic."
        )
    replicates = source.space.get("replicates") or {}
    if len(replicates.get("seeds", [])) == 1:
        found.append("One seed only: nothing here says how much the numbers vary from one training to the next.")
    forgets = replicates.get("forget", [])
    if len(forgets) == 1:
        found.append(
            "One random forget set only: others may be easier or harder to forget."
            if isinstance(forgets[0], dict)
            else "One forgotten class only: other classes may be easier or harder to forget."
        )
    if not forgets_classes(source) and "ua" in (source.space.get("objectives") or []):
        found.append(
            "A random share was forgotten, of which Retrain still knows most: UA 100% is not its aim. The search took "
            "a higher UA for a better one all the same; `objectives: [gap]` searches for what is near Retrain."
        )
    short = (one_per_trial(source.searched)["fidelity"] == "search").sum()
    if short:
        found.append(
            f"{short} trials were measured on subsets only (fidelity 'search'). They are counted, "
            "but enter no front and no recommendation."
        )
    unreported = candidates(source.searched)
    unreported = unreported[unreported["report_ta"].isna() | unreported["report_mia"].isna()]
    if len(unreported):
        found.append(f"{len(unreported)} trials have no values on the report half: their selection values are shown.")
    return found


def _unfinished(source: Source) -> list[str]:
    """Cells with fewer trials than asked for, those that were not begun included."""
    asked = asked_trials(source.space, references=False)
    done = source.searched.drop_duplicates("trial").groupby("cell").size()
    short = sum(int(done.get(cell, 0)) < trials for cell, trials in asked.items())
    if not short:
        return []
    return [
        f"{short} of {len(asked)} cells have fewer trials than asked for: the study is unfinished, or a discrete space "
        "was exhausted."
    ]


def _references(group: Group) -> list[str]:
    if group.retrain is not None:
        return []
    return [
        "Retrain is missing, so that no distance to it, no speed-up and no base can be shown, and "
        "settings are judged by what they forget and keep alone."
    ]


def forgets_classes(source: Source) -> bool:
    """Whether every forget set of a study is made of classes: of a random share, Retrain keeps most of the accuracy."""
    return not any(isinstance(forget, dict) for forget in (source.space.get("replicates") or {}).get("forget", []))


def _outcomes(group: Group, of_classes: bool) -> list[str]:
    found = []
    base = next((base.metrics.get("ra") for base in group.bases if base.sparsity == 0), None)
    floor = COLLAPSED * (1.0 if base is None else float(base))
    for method, rows in group.table.groupby("method", sort=False):
        named = str(method)
        tried = candidates(rows)
        if tried.empty:
            if (rows["status"] != "ok").all():
                found.append(f"{named}: every trial diverged or failed.")
            continue
        forgot = tried[tried["ua"] >= FORGOTTEN]
        if not of_classes:
            if (tried["ra"] < floor).all():
                found.append(f"{named}: every trial collapsed (RA below half of the base's).")
        elif forgot.empty:
            found.append(f"{named}: no trial forgot {FORGOTTEN:.0%} of the class.")
        elif (tried["ra"] < floor).all():
            found.append(f"{named}: every trial collapsed (RA below half of the base's).")
        elif (forgot["ra"] < floor).all():
            found.append(f"{named}: every trial that forgot the class collapsed (RA below half of the base's).")
    return found


def _attack(group: Group, source: Source) -> list[str]:
    found = []
    flags = [source.by_trial[trial].metrics.get("mia_has_signal") for trial in candidates(group.table)["trial"]]
    without = sum(flag is False for flag in flags)
    if without:
        found.append(
            f"In {without} of {len(flags)} trials the membership attack has no signal on the selection half: it cannot "
            "tell training images from others there, so that their MIA values are noise."
        )
    if group.retrain is not None and group.retrain.metrics.get("mia_has_signal") is False:
        found.append(
            "The attack has no signal on Retrain either, so that its MIA is no target. "
            + _without_attack(group, source)
        )
    return found


def _without_attack(group: Group, source: Source) -> str:
    """What noise in a quarter of the distance to Retrain means for the choice."""
    chosen, retrain = group.recommendation.trial, group.retrain
    if chosen is None or retrain is None:
        return ""
    other = nearest_without_attack(group.table, retrain.metrics, source.space.get("constraints") or {})
    if other is None or other == chosen:
        return "MIA is a quarter of the distance by which settings are ranked; without it the choice is the same."
    record = source.by_trial[other]
    values = ", ".join(
        f"{name.upper()} {100 * value:.2f}%"
        for name in TOW_METRICS
        if (value := shown(record.metrics, record.report, name)) is not None
    )
    return (
        "MIA is a quarter of the distance by which settings are ranked; without it the choice would be "
        f"{other} ({values})."
    )


def _hidden(group: Group, source: Source) -> list[str]:
    """A retracted model was chosen, and nothing asked what it still holds."""
    chosen = group.recommendation.trial
    if chosen is None or source.space.get("audits"):
        return []
    found = [(one.get("details") or {}).get("retraction") for one in source.by_trial[chosen].replicates]
    # At a scale of 1 the whole ascent was kept.
    if not any(retraction and retraction["scale"] < 1 for retraction in found):
        return []
    return [
        "What is recommended was retracted: it keeps the least of its ascent that forgets, and may hold the class all "
        "the same. `audits: [relearn]` in the space asks every model how soon the class comes back."
    ]
