import pytest

from neglora.card import _code, _text


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
