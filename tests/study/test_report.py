"""The report of handmade studies: what it says, that it is escaped, and that it is the same twice."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import handmade
import pytest

from study.report import ReportError, read_study, render, write_report
from study.sections.cautions import cautions
from study.sections.html import Html, coded, data, tag
from study.sections.overview import overview
from study.sections.provenance import fingerprints
from study.sections.source import Source, slug
from study.sections.staging import staging
from study.sections.tally import Times, tallies

V = handmade.values


class Page(HTMLParser):
    """The visible text of a page, its tags, and its embedded JSON; scripts and styles left out of the text."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.ids, self.json = "", [], [], {}
        self._inside = None
        self.feed(html)

    def handle_starttag(self, name, attributes):
        attributes = dict(attributes)
        self.tags.append((name, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if name in ("script", "style"):
            self._inside = attributes.get("id", "")

    def handle_endtag(self, name):
        if name in ("script", "style"):
            self._inside = None

    def handle_data(self, text):
        if self._inside is None:
            self.text += text
        elif self._inside:
            self.json[self._inside] = json.loads(text)


def page(records, **changes):
    return Page(render([Source(handmade.study(**changes), records, "ab" * 32)]))


def source(records, **changes):
    return Source(handmade.study(**changes), records)


#: Of one pixel: a PNG begins with its size.
PIXEL = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1).to_bytes(4, "big") * 2


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """What figures look like without a script is tested elsewhere, and takes a third of a page's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.sections.figure._png", lambda spec: PIXEL)
        yield


@pytest.fixture(scope="module")
def usual():
    return page(handmade.searched(16))


def test_says_what_was_studied_and_at_what_cost(usual):
    assert "48 (47 ok, 1 diverged)" in usual.text
    assert "cpu, 1 thread" in usual.text
    assert "ab" * 32 in usual.text
    assert "Settings were chosen with the help of retained data and of Retrain" in usual.text


def test_overview_sums_over_replicates():
    facts = overview(source(handmade.searched(2, (0, 1))))
    assert facts.trials == {"ok": 6, "diverged": 0, "failed": 0}
    assert facts.unlearn_seconds == pytest.approx(6 * 2 * 0.5)
    assert facts.evaluate_seconds == pytest.approx(6 * 2 * 1.5)
    assert facts.retrain_seconds == 2 * 25.0
    assert facts.base_seconds == 2 * 33.0
    assert facts.hardware == ["cpu, 1 thread"]


def test_a_base_that_several_forget_sets_start_from_counts_once():
    oracle = handmade.retrain()
    again = [
        one | {"forget": forget, "seed": seed} for one in oracle.replicates for forget in (5, 8) for seed in (0, 1)
    ]
    facts = overview(source([oracle, handmade.confirmed_line(oracle, [], replicates=again)]))
    assert facts.base_seconds == 2 * (25.0 + 8.0)
    assert facts.retrain_seconds == 5 * 25.0


def test_each_cell_says_how_its_trials_ended_and_what_they_took(usual, staged):
    lines = {one.name: one for one in tallies(source(handmade.searched(16)))}
    own = lines["digits-tinyvit_nano-neggrad"]
    assert own.statuses == {"ok": 15, "diverged": 1, "failed": 0}
    assert own.fidelities == {"search": 0, "full": 15, "confirm": 0}
    assert own.times["unlearn_seconds"] == Times(0.5, 0.5)
    assert "digits-tinyvit_nano-neggrad1510150.50 s (0.50 s)1.50 s (1.50 s)" in usual.text
    assert "On unseen pairs" not in usual.text
    assert "On subsetsIn fullOn unseen pairs" in staged.text
    without = replace(handmade.record(0), cost={})
    assert tallies(source([without]))[0].times["unlearn_seconds"] == Times(None, None)


def test_the_data_has_its_fingerprint():
    known = replace(handmade.record(0), provenance=handmade.PROVENANCE | {"data": "cd" * 32})
    other = replace(handmade.record(1), provenance=handmade.PROVENANCE | {"data": "ef" * 32})
    assert fingerprints(source([known, other])) == {"digits": ["cd" * 32, "ef" * 32]}
    assert "SHA-256 of digits" + "cd" * 32 in page([known]).text
    assert "SHA-256 of digits" not in page([handmade.record(0)]).text


def test_the_images_of_the_search_are_no_split(staged):
    assert "Images of digits, 3 forgotten128 to forget, 1,129 to retain, 243 in the test half" in staged.text
    assert "Images of digits, 8 forgotten" in staged.text
    assert "200 to retain" not in staged.text


def test_bases_of_a_file_of_weights_took_no_training():
    records = handmade.searched(2, (0, 1))
    for base in (base for record in records for item in record.replicates for base in item.get("bases") or []):
        if base["sparsity"] == 0:
            base["cost"]["train_seconds"] = None
    assert overview(source(records)).base_seconds == 2 * 8.0
    for base in (base for record in records for item in record.replicates for base in item.get("bases") or []):
        base["cost"]["train_seconds"] = None
    assert overview(source(records)).base_seconds is None


def test_overview_of_trials_in_stages_counts_each_once_and_every_second():
    records = handmade.staged(16)
    facts = overview(source(records, **handmade.STAGED))
    assert facts.trials == {"ok": 47, "diverged": 1, "failed": 0}
    runs = sum(len(one.replicates) for one in records if one.cell["method"] != "retrain")
    assert runs == 47 + 11 + 3 * 4
    assert facts.unlearn_seconds == pytest.approx(runs * 0.5)
    assert facts.evaluate_seconds == pytest.approx(runs * 1.5)
    assert facts.attack_seconds == pytest.approx(runs * 0.25)


def test_the_attacks_time_stands_apart_where_it_was_taken(usual):
    assert "Time spent evaluating, the attack apart" in usual.text
    records = handmade.searched(2)
    for cost in (part["cost"] for one in records for part in [vars(one), *one.replicates]):
        cost.pop("attack_seconds", None)
    assert overview(source(records)).attack_seconds is None
    text = page(records).text
    assert "Time spent evaluating" in text
    assert "Time spent on the attack" not in text
    # Those of earlier versions fitted the attack exactly in the search as well.
    assert "How the trials were measured" not in text


@pytest.fixture(scope="module")
def staged():
    return page(handmade.staged(16), **handmade.STAGED)


def test_says_how_trials_were_measured(staged):
    facts = staging(source(handmade.staged(16), **handmade.STAGED))
    assert (facts.searched, facts.confirmed, facts.unseen) == (47, 11, 3)
    assert facts.share == pytest.approx(11 / 47)
    assert facts.hopeless > 0
    looked = f"{facts.hopeless} of them at a first look only"
    assert f"47 searched on subsets, {looked}, 11 measured in full (23%)" in staged.text
    assert "measured on 200 retained and 100 test images" in staged.text
    assert f"{facts.hopeless} trials were right about as often as chance on a first look at 50 retained" in staged.text
    assert "The search was told the MIA of a fit of the attack that is faster" in staged.text
    assert "36 trials were measured on subsets only" in staged.text


@pytest.mark.parametrize(
    ("records", "changes", "words"),
    [
        (handmade.searched(2), {}, "the MIA of a fit of the attack that is faster"),
        (handmade.searched(2), {"selection": {"holdout": 0}}, None),
        (handmade.staged(2), {**handmade.STAGED, "selection": {"holdout": 0}}, "is faster"),
    ],
    ids=["full", "one half", "one half, on subsets"],
)
def test_the_attack_of_the_search_is_explained_where_it_was_another(records, changes, words):
    text = page(records, **changes).text
    assert "fit of the attack" not in text if words is None else words in text
    assert ("searched on subsets" in text) == ("evaluation" in changes)


def test_a_trial_counts_once_in_its_cell():
    cells = re.findall(
        r">(?:neglora|neggrad)</th><td>(\d+)</td>", render([source(handmade.staged(16), **handmade.STAGED)])
    )
    assert cells == ["16", "16"]


def test_how_well_it_carries_over(staged):
    figures = [attributes["id"] for name, attributes in staged.tags if "data-figure" in attributes]
    assert "carried-handmade-digits-tinyvit_nano" in figures
    text = staged.text
    assert "(digits-tinyvit_nano-neglora-0003). It holds up: its mean distance to Retrain is 0.40% on 4 pairs" in text
    assert "(digits-tinyvit_nano-neggrad-0000). It does not hold up: its mean distance to Retrain is 20.00%" in text
    assert "at most 1 point larger" in text
    assert "It never saw 5 with seed 0, 5 with seed 1, 8 with seed 0, 8 with seed 1." in text
    assert "80.00%80.00–80.00−14.53" in text
    assert "Retrain1 of the search, 4 unseen" in text


def test_without_confirmation_nothing_is_said_of_it(usual):
    assert "How well it carries over" not in usual.text


def test_a_confirmation_without_retrain_is_not_judged():
    own = handmade.record(0)
    text = page([own, handmade.confirmed_line(own, [(5, 0, V(gap=None))])]).text
    assert "Whether it holds up is not known: its distance to Retrain was not measured on every pair." in text
    assert "Retrain's own values on unseen pairs are not in the ledger." in text


def test_pairs_that_diverged_or_failed_are_said():
    own = handmade.record(0)
    confirmed = handmade.confirmed_line(own, [(5, 0, V(ra=0.9)), (8, 0, V())], status="diverged", metrics={}, report={})
    lost = confirmed.replicates[1]
    lost |= {"status": "diverged", "reason": "nan", "metrics": {}, "report": {}}
    text = page([handmade.retrain(), own, confirmed]).text
    assert "It does not hold up: it diverged on 1 of 2 pairs that the search never saw." in text
    assert "90.00–90.00 on 1" in text
    assert "diverged on unseen pairs" in text
    failed = handmade.confirmed_line(own, [], status="failed", reason="the worker was lost", metrics={}, report={})
    text = page([handmade.retrain(), own, failed]).text
    assert "Whether it holds up is not known: the trial on unseen pairs failed (the worker was lost)." in text
    assert "1 ok" in text


def test_noise_on_unseen_pairs_is_said():
    own = handmade.record(0)
    confirmed = handmade.confirmed_line(own, [(5, 0, V(mia_has_signal=False)), (8, 0, V())])
    assert "On 1 of 2 unseen pairs the attack has no signal" in page([handmade.retrain(), own, confirmed]).text


def test_three_separate_figures_then_progress_settings_and_evidence(usual):
    figures = [attributes["id"] for name, attributes in usual.tags if "data-figure" in attributes]
    assert figures == [
        "tradeoff-ua-ra-handmade-digits-tinyvit_nano",
        "tradeoff-ua-ta-handmade-digits-tinyvit_nano",
        "tradeoff-ua-mia-handmade-digits-tinyvit_nano",
        "progress-handmade-digits-tinyvit_nano",
        "progress-seconds-handmade-digits-tinyvit_nano",
        "effects-neggrad-handmade-digits-tinyvit_nano",
        "effects-partial_neggrad-handmade-digits-tinyvit_nano",
        "effects-neglora-handmade-digits-tinyvit_nano",
        "map-alpha-rank-handmade-digits-tinyvit_nano",
        "map-lr-epochs-handmade-digits-tinyvit_nano",
        "parallel-handmade-digits-tinyvit_nano",
        "sparsity-handmade-digits-tinyvit_nano",
        "classes-handmade-digits-tinyvit_nano",
        "called-handmade-digits-tinyvit_nano",
        "confidences-handmade-digits-tinyvit_nano",
    ]
    assert {f"{figure}-data" for figure in figures} | {"trials-handmade-digits-tinyvit_nano"} == set(usual.json)


def test_the_recommendation_has_its_command(usual):
    assert "neglora unlearn --dataset digits --model tinyvit_nano --method neglora --forget 3" in usual.text
    assert ("button", "command-handmade-digits-tinyvit_nano") in [
        (name, attributes.get("data-copy")) for name, attributes in usual.tags
    ]


def test_intervals_and_counts_stand_beside_values(usual):
    assert "97.09–100.00, n\u00a0128" in usual.text


def test_failures_are_listed_with_their_reason(usual):
    assert "digits-tinyvit_nano-neggrad-0005" in usual.text
    assert "the loss was not finite at step 6 of 8" in usual.text


def test_shown_values_are_the_report_halfs():
    # RA keeps the share that is covered, which is of the selection half, from looking like TA.
    record = handmade.record(0, metrics=V(ra=0.99, ta=0.9711), report=V(ra=0.99, ta=0.9388))
    text = page([handmade.retrain(), record]).text
    assert "93.88%" in text
    assert "97.11%" not in text


def test_ids_are_unique_even_for_studies_of_one_name():
    studies = [Source(handmade.study(), handmade.searched(3)) for _ in range(2)]
    ids = Page(render(studies)).ids
    assert len(ids) == len(set(ids)) > 10


def test_slugs_of_different_texts_differ():
    assert slug("a", "b_1") == "a-b_1"
    texts = [("a-b", "c"), ("a", "b-c"), ("a/b", "c"), ("a:b", "c"), ("a", "b", "c")]
    assert len({slug(*parts) for parts in texts}) == len(texts)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", slug(*parts)) for parts in texts)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "No trial is recorded yet."),
        ([handmade.retrain()], "nothing was tried yet"),
        ([handmade.record(i, status="diverged", reason="nan") for i in range(3)], "every trial diverged or failed"),
        ([handmade.record(0)], "Retrain is missing"),
        ([handmade.record(0, fidelity="search")], "no trial was measured in full"),
        ([handmade.retrain(), handmade.record(0, metrics=V(0.5, mia=None))], "no distance to Retrain was measured"),
        ([handmade.record(0, status="failed", reason=None)], "no reason was recorded"),
    ],
    ids=["empty", "only retrain", "only diverged", "one trial", "search only", "no attack", "no reason"],
)
def test_unfinished_studies_make_a_report(records, words):
    text = page(records).text
    assert words in text
    assert "nan%" not in text.lower()


NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def test_text_from_data_is_escaped_everywhere():
    dataset = f"imagefolder:{NASTY}"
    params = {"lr": 1e-3, "epochs": 1, "targets": NASTY, "sparsity": 0.0}
    records = [
        handmade.retrain(dataset=dataset),
        handmade.record(0, dataset=dataset, model=NASTY, params=params, axes={"merge": NASTY}),
        handmade.record(1, dataset=dataset, model=NASTY, method=NASTY, params=params),
        handmade.record(2, dataset=dataset, status="failed", reason=NASTY, params=params),
    ]
    records.append(handmade.confirmed_line(records[1], [(NASTY, 0, V())]))
    records.append(handmade.searched_line(handmade.record(5, dataset=dataset, model=NASTY, params=params)))
    result = page(records, study=NASTY, datasets=[dataset], models=[NASTY], methods={NASTY: {}})
    pictures = [attributes for name, attributes in result.tags if name == "img"]
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in pictures)
    assert not [name for name, attributes in result.tags if any(key.startswith("on") for key in attributes)]
    scripts = [attributes for name, attributes in result.tags if name == "script"]
    assert [attributes for attributes in scripts if attributes.get("type") != "application/json"] == [{}, {}]
    assert result.text.count(NASTY) > 5
    specs = [spec for name, spec in result.json.items() if not name.startswith("trials-")]
    hovers = [text for spec in specs for trace in spec["data"] for text in trace.get("hovertext", [])]
    assert hovers
    assert not [text for text in hovers if "<img" in text or "<script" in text]


def test_embedded_data_cannot_end_its_element():
    written = data("x", {"text": NASTY + "<!--"})
    assert written.count("<") == 2
    assert json.loads(re.sub(r"^<[^>]*>|</script>$", "", written)) == {"text": NASTY + "<!--"}


def test_tags_escape_what_is_not_html():
    assert tag("p", "a<b", Html("<i>c</i>"), None, 1, ["&"], title='"') == (
        '<p title="&quot;">a&lt;b<i>c</i>1&amp;</p>'
    )
    assert tag("button", hidden=True, disabled=False, data_copy="x") == '<button hidden data-copy="x"></button>'


def test_nothing_is_fetched(usual):
    for name, attributes in usual.tags:
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (name, attributes)


def warned(records, **changes):
    return "\n".join(cautions(source(records, **changes)))


def test_cautions_about_the_protocol():
    several = {"replicates": {"forget": [1, 2], "seeds": [0, 1]}, "search": {"trials": 1}}
    clean = [handmade.retrain(), *(handmade.record(0, method=m) for m in ("neggrad", "partial_neggrad", "neglora"))]
    assert warned(clean, **several) == ""
    assert "Selected on the test set" in warned(clean, **several, selection={"holdout": 0})
    assert "One seed only" in warned(clean, **several | {"replicates": {"forget": [1, 2], "seeds": [0]}})
    assert "One forgotten class only" in warned(clean, **several | {"replicates": {"forget": [1], "seeds": [0, 1]}})
    random = {"replicates": {"forget": [{"random": 0.1, "seed": 0}], "seeds": [0, 1]}}
    assert "One random forget set only" in warned(clean, **several | random)
    assert "UA 100% is not its aim" in warned(clean, **several | random | {"objectives": ["ua", "ra"]})
    assert "is not its aim" not in warned(clean, **several | random | {"objectives": ["gap"]})
    assert "is not its aim" not in warned(clean, **several | {"objectives": ["ua", "ra"]})
    assert "Retrain is missing" in warned(clean[1:], **several)
    assert "1 of 3 cells have fewer trials than asked for" in warned(clean[:-1], **several)
    assert "3 of 3 cells have fewer trials than asked for" in warned(clean, **several | {"search": {"trials": 2}})


def test_cautions_about_outcomes():
    collapsed = [handmade.record(i, metrics=V(1.0, 0.1, 0.1, 0.0)) for i in range(2)]
    kept = handmade.record(2, metrics=V(0.3, 1.0, 0.97, 0.3))
    assert "every trial collapsed" in warned([handmade.retrain(), *collapsed])
    assert "every trial that forgot the class collapsed" in warned([handmade.retrain(), *collapsed, kept])
    assert "collapsed" not in warned([handmade.retrain(), *collapsed, handmade.record(3)])
    assert "no trial forgot 95% of the class" in warned([handmade.retrain(), kept])
    assert "every trial diverged or failed" in warned([handmade.record(0, status="diverged", reason="nan")])


def test_cautions_about_the_attack_and_the_halves():
    silent = handmade.record(0, metrics=V(mia_has_signal=False))
    assert "In 1 of 2 trials the membership attack has no signal" in warned([silent, handmade.record(1)])
    assert "1 trials have no values on the report half" in warned([handmade.record(0, report={})])
    assert "1 trials were measured on subsets only" in warned([handmade.record(0, fidelity="search")])


def test_a_choice_that_hangs_on_noise_says_what_it_would_be_without():
    oracle = handmade.retrain()
    oracle.metrics["mia_has_signal"] = False
    near = handmade.record(0, metrics=V(ra=0.999, mia=0.2))
    far = handmade.record(1, metrics=V(ra=0.95, mia=1.0))
    assert "without it the choice would be digits-tinyvit_nano-neglora-0000 (UA 100.00%, RA 99.90%, TA 97.00%)" in (
        warned([oracle, near, far])
    )
    assert "without it the choice is the same" in warned([oracle, near])
    assert "MIA is a quarter" not in warned([handmade.retrain(), near, far])


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "plain"),
        ("set `a: [b]` <now>", "set <code>a: [b]</code> &lt;now&gt;"),
        ("`<a>` and `b`", "<code>&lt;a&gt;</code> and <code>b</code>"),
        ("one ` alone", "one ` alone"),
        ("`a` and ` alone", "<code>a</code> and ` alone"),
    ],
)
def test_words_between_backticks_are_code(text, html):
    assert coded(text) == html


def test_a_retracted_choice_that_nobody_audited_says_so():
    def warning(scale, **changes):
        record = handmade.record(0)
        record.replicates[0]["details"] = {"retraction": scale and {"scale": scale}}
        return "may hold the class all the same" in warned([handmade.retrain(), record], **changes)

    assert warning(0.25)
    assert not warning(0.25, audits=["relearn"])
    assert not warning(1.0), "the whole ascent was kept"
    assert not warning(None)
    assert "may hold the class" not in warned([handmade.retrain(), handmade.record(0)])


def test_the_verdict_says_what_it_does_and_how_far_it_is():
    told = page([handmade.retrain(), handmade.record(0, metrics=V(0.99, 0.96, 0.95, 0.9))]).text
    assert (
        "neglora gets 99.0% of the images to forget wrong, and stays right on 96.0% of the retained and 95.0% of "
        "unseen images. Its largest distance to Retrain is 10.0 points, in MIA-Efficacy. It took 1/50 of the time"
    ) in told
    silent = handmade.retrain()
    silent.metrics["mia_has_signal"] = False
    told = page([silent, handmade.record(0, metrics=V(0.99, 0.96, 0.95, 0.9))]).text
    assert "is 4.0 points, in RA (MIA left aside, for the attack has no signal)" in told
    assert "nobody knows how near that is" in page([handmade.record(0)]).text


def test_several_groups_are_summed_up_in_one_table(usual):
    caption = "Recommended, by dataset and model"
    assert caption not in usual.text
    result = page(handmade.grid(4), **handmade.GRID)
    assert caption in result.text
    links = [attributes["href"] for name, attributes in result.tags if name == "a"]
    assert {href for href in links if href.startswith("#grid-")} == {
        f"#grid-{dataset}-{model}" for dataset in ("digits", "cifar10") for model in ("tinyvit_nano", "resnet_nano")
    }


def test_published_numbers_are_marked_as_such_and_doubtful_ones_say_why():
    place = {"dataset": "cifar10", "model": "resnet50"}
    result = page([handmade.retrain(**place), handmade.record(0, **place)])
    assert "paper: NegLoRA" in result.text
    assert "published numbers of the paper's Figure 4 (ResNet50)" in result.text
    assert "are no targets" in result.text
    assert ("tr", {"class": "published"}) in result.tags
    reasons = [attributes["title"] for name, attributes in result.tags if name == "sup" and "title" in attributes]
    assert len(reasons) == 8
    assert all(reason in result.text for reason in reasons)


def test_without_published_numbers_nothing_is_said_of_the_paper(usual):
    assert "paper: " not in usual.text
    assert "published numbers" not in usual.text


def test_methods_on_sparse_bases_have_a_table_of_their_own(usual):
    assert "The same on sparse bases: tinyvit_nano on digits" in usual.text
    assert "neglora, 90% sparse" in usual.text
    assert "The same on sparse bases" not in page([handmade.retrain(), handmade.record(0)]).text


def test_the_table_can_be_copied_in_three_formats(usual):
    for name in ("latex", "markdown", "csv"):
        identifier = f"paper-{name}-handmade-digits-tinyvit_nano"
        assert identifier in usual.ids
        assert [attributes for _, attributes in usual.tags if attributes.get("data-copy") == identifier]
    assert "\\begin{tabular}" in usual.text


def test_one_sparsity_draws_no_figure_of_it():
    result = page([handmade.retrain(), handmade.record(0)])
    assert not [identifier for identifier in result.ids if identifier.startswith("sparsity-")]


def test_a_missing_field_of_the_method_table_says_that_none_was_tried():
    record = handmade.record(0, params={"lr": 0.1, "epochs": 1})
    result = page([handmade.retrain(), record])
    assert ("span", {"title": "none was tried", "class": "missing"}) in result.tags


def test_the_same_ledger_gives_the_same_bytes(tmp_path):
    folder = handmade.write_study(tmp_path / "study", handmade.searched(4))
    first = write_report([folder], tmp_path / "a.html").read_bytes()
    second = write_report([folder], tmp_path / "deep" / "b.html").read_bytes()
    assert first == second
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["b.html"]


def test_several_studies_have_a_section_each(tmp_path):
    one = handmade.write_study(tmp_path / "one", handmade.searched(2), study="first")
    two = handmade.write_study(tmp_path / "two", handmade.searched(2), study="second")
    result = Page(write_report([one, two], tmp_path / "out.html").read_text(encoding="utf-8"))
    assert "Study first" in result.text
    assert "Study second" in result.text


def test_a_study_without_a_ledger_is_empty(tmp_path):
    folder = handmade.write_study(tmp_path, [])
    (folder / "ledger.jsonl").unlink()
    study = read_study(folder)
    assert (list(study.records), study.ledger_sha256) == ([], None)


@pytest.mark.parametrize("text", [None, "- a\n- b\n", "a: [\n"])
def test_no_study_is_a_clear_error(text, tmp_path):
    if text is not None:
        (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ReportError, match=re.escape(str(tmp_path))):
        read_study(tmp_path)


def test_no_directories_is_a_clear_error(tmp_path):
    with pytest.raises(ReportError, match="at least one"):
        write_report([], tmp_path / "out.html")


def test_no_python_objects_in_study_yaml(tmp_path):
    (tmp_path / "study.yaml").write_text("study: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ReportError):
        read_study(tmp_path)


def test_without_trials_to_show_there_are_no_empty_figures():
    result = page([handmade.retrain(), handmade.record(0, status="diverged", reason="nan")])
    assert not [attributes for _, attributes in result.tags if "data-figure" in attributes]
    assert "There is nothing to plot yet." in result.text


def test_the_whole_test_set_is_not_called_a_half():
    text = page([handmade.retrain(), handmade.record(0)], selection={"holdout": 0}).text
    assert "those of the whole test set" in text
    assert "those of the report half" not in text
    assert "The choice was made on the same images." in text
