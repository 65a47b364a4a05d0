"""What a text begins with."""

import pytest

from tenancy.text import first_line, first_sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("How long? I ordered it.", "How long?"),
        ("\n\n  One  line\nand another", "One line"),
        ("No end at all", "No end at all"),
        ("Version 1.5 is out. Get it", "Version 1.5 is out."),
        ("多久？我订了。", "多久？"),
        ("", ""),
        ("alpha beta gamma delta epsilon", "alpha beta gamma…"),
        ("x" * 40, "x" * 20),
    ],
)
def test_the_first_sentence_is_a_title(text: str, sentence: str) -> None:
    assert first_sentence(text, 20) == sentence


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert first_line(" \n\r\n one \n two") == "one"
    assert first_line(" \n ") == ""
