"""What the page says of settings."""

import random
import re

import handmade
import pytest

from study.sections.source import Source
from study.sections.understanding import understanding_html

NASTY = "<img src=x onerror=alert(1)>"
LOG = {"lr": {"log": [1e-4, 1e-2]}, "rank": [2, 8]}


def section(records, **changes):
    source = Source(handmade.study(**changes), records)
    (group,) = source.groups
    return understanding_html(group, source)


@pytest.fixture(scope="module")
def usual():
    """Sixteen trials of three methods, some of which diverged."""
    return section(handmade.searched(16))


def driven(trials=30, method="neglora", retrain=True):
    """A method whose learning rate decides nearly all, and whose rank decides nothing."""
    generator = random.Random(0)
    records = [handmade.retrain()] if retrain else []
    for number in range(trials):
        lr, rank = 10 ** generator.uniform(-4, -2), generator.choice([2, 8])
        own = handmade.values(ua=min(1.0, 20000 * lr**2), ra=1 - 20 * lr, mia=min(1.0, 400 * lr))
        if not retrain:
            own |= {"gap": None, "tow": None}
        records.append(handmade.record(number, method=method, metrics=own, params={"lr": lr, "rank": rank}))
    return records


def figures_of(text):
    return re.findall(r'id="([^"]+)" class="figure"', text)


def test_what_matters_is_said_with_its_share_and_how_well_it_is_known():
    text = section(driven(40), methods={"neglora": LOG})
    assert figures_of(text) == [
        "importance-handmade-digits-tinyvit_nano",
        "effects-neglora-handmade-digits-tinyvit_nano",
        "parallel-handmade-digits-tinyvit_nano",
    ]
    assert re.search(
        r"For neglora, lr matters most: \d+% of the differences \(\d+% to \d+%\), then rank with \d%", text
    )
    assert re.search(
        r"neglora: 40 trials; the settings explain \d+% of the differences \(R² on trials left out\)", text
    )
    rows = re.findall(r'<tr><th scope="row"><code>(\w+)</code></th>(.*?)</tr>', text)
    assert [name for name, _ in rows] == ["lr", "rank"]
    assert "learning rate of the ascent (Adam)" in rows[0][1]
    # Gap, alone, and the four metrics; TA does not vary.
    assert len(re.findall("<td", rows[0][1])) == 7
    assert 'title="all trials came out alike"' in rows[0][1]
    assert "No importance is claimed" not in text


def test_of_too_few_trials_nothing_is_claimed(usual):
    text = usual
    assert not [figure for figure in figures_of(text) if figure.startswith("importance")]
    assert (
        "No importance is claimed for neggrad: 15 trials measured in full, fewer than 20; partial_neggrad: 16" in text
    )
    assert "No course is drawn (16 trials measured in full, fewer than 20)." in text
    assert "a setting that makes them diverge looks less important" in text


def test_where_settings_explain_little_nothing_is_claimed():
    generator = random.Random(0)
    records = [handmade.retrain()]
    for number in range(40):
        own = handmade.values(ua=generator.random())
        records.append(handmade.record(number, metrics=own, params={"lr": 10 ** generator.uniform(-4, -2)}))
    text = section(records, methods={"neglora": LOG})
    assert re.search(r"No importance is claimed for neglora: the settings explain \d+% of the differences", text)
    assert "importance-" not in text


def test_the_first_figures_are_open_and_the_others_folded(usual):
    shown, *folded = usual.split("<details>")
    assert [one.split("</summary>")[0].removeprefix("<summary>") for one in folded] == [
        "Two settings together",
        "Every trial as a line through its settings and results",
        "What pruning the model beforehand changes",
    ]
    assert [one.split("-")[0] for one in figures_of(shown)] == ["effects"] * 3
    assert [[one.split("-")[0] for one in figures_of(part)] for part in folded] == [
        ["map", "map"],
        ["parallel"],
        ["sparsity"],
    ]


def test_without_retrain_forgetting_is_taken_instead():
    text = section(driven(30, retrain=False), methods={"neglora": LOG})
    assert "Without Retrain there is no gap to it, so that UA is taken" in text
    assert "neglora: UA is highest at lr" in text
    assert "map-" not in text


def test_staged_studies_say_that_the_better_trials_are_seen(usual):
    assert "The search kept its better ones for that" in section(handmade.staged(8))
    assert "The search kept its better ones for that" not in usual


def test_nothing_varied_is_nothing_to_say():
    assert section([handmade.retrain(), handmade.record(0), handmade.record(1)]) is None


def test_texts_from_data_are_escaped():
    text = section(driven(24, method=NASTY))
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img" not in re.sub(r"<noscript>.*?</noscript>", "", text)


def test_the_same_records_give_the_same_section(usual):
    assert section(handmade.searched(16)) == usual


def test_of_very_many_trials_some_are_drawn_and_it_is_said(monkeypatch):
    monkeypatch.setattr("study.thinning.thinned.__defaults__", ((), 30))
    text = section(handmade.searched(22))
    shares = re.findall(r"(\d+) of (\d+) trials drawn", text)
    assert shares
    assert all(int(drawn) < int(trials) <= 22 for drawn, trials in shares)


def test_pruning_is_summed_up_in_a_sentence(usual):
    change = r"neggrad changes most in [\w-]+: [\d.]+% \(0% sparse\) to [\d.]+% \(90% sparse\)"
    assert re.search(f"From the least to the most sparse base, {change}", usual)
