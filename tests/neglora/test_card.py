import pytest

from neglora.card import _carried, _code, _text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("last.attn_out+head", "last.attn_out+head"),
        ("_not_ *emphasis*", r"\_not\_ \*emphasis\*"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[cat](evil) | `x`\n# title", r"\[cat\](evil) \| \`x\` # title"),
        (r"a\b", r"a\\b"),
    ],
)
def test_names_from_data_are_only_names(text: str, written: str) -> None:
    assert _text(text) == written


@pytest.mark.parametrize(("text", "written"), [("a_b", "`a_b`"), ("a`b``c", "```a`b``c```"), ("`a", "`` `a ``")])
def test_a_code_span_holds_any_text(text: str, written: str) -> None:
    assert _code(text) == written


def test_what_was_tried_elsewhere_is_said_with_its_numbers_or_with_words_alone() -> None:
    pair = {"forget": "<b>cat</b>", "seed": 1, "status": "ok"}
    found = {"words": "It holds up.", "pairs": [pair], "report": {"ua": 0.5, "ra": None}, "gap": 0.0125}
    (written,) = _carried({"confirmed": found})
    assert "| mean % | UA | GAP |\n|---|---:|---:|\n| unseen | 50.00 | 1.25 |" in written
    assert "Tried on: &lt;b&gt;cat&lt;/b&gt; with seed 1." in written
    lost = {"words": "It failed.", "pairs": [], "report": {}, "gap": None}
    assert _carried({"confirmed": lost}) == ["## On what the search never saw\n\nIt failed."]
    assert _carried({"confirmed": None}) == _carried({}) == []
