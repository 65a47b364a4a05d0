"""robots.txt: what RFC 9309 says of rules, and nobody's patience."""

import pytest

from knowledge.robots import MAX_CHARACTERS, MAX_RULES, MAX_WILD_CHARACTERS, read_robots

US = "Tenantry"
PAGE = "https://a.example"


def allowed(text: str, path: str) -> bool:
    """Whether we may fetch a page of a site with these rules."""
    return read_robots(text.encode(), US).allow(f"{PAGE}{path}")


@pytest.mark.parametrize(
    ("rules", "path", "may"),
    [
        ("Disallow: /private", "/private/x", False),
        ("Disallow: /private", "/privately", False),
        ("Disallow: /private", "/a/private", True),
        ("Disallow: /private/", "/private", True),
        ("Disallow: /", "/", False),
        ("Disallow:", "/anything", True),
        ("", "/anything", True),
        ("Allow: /\nDisallow: /private", "/private", False),  # the longest, whatever the order
        ("Disallow: /private\nAllow: /private/open", "/private/open/x", True),
        ("Disallow: /page\nAllow: /page", "/page", True),  # of two alike, the kinder
        ("Disallow: /*.pdf$", "/a/b.pdf", False),
        ("Disallow: /*.pdf$", "/a/b.pdf?x=1", True),
        ("Disallow: /*.pdf", "/a/b.pdf?x=1", False),
        ("Disallow: /a*b*c$", "/a1b2c", False),
        ("Disallow: /a*b*c$", "/a1c2b", True),
        ("Disallow: *", "/x", False),
        ("Disallow: /$", "/", False),
        ("Disallow: /$", "/x", True),
        ("Disallow: /ab*ba$", "/aba", True),  # no character stands for two
        ("Disallow: /*?", "/x?y", False),
        ("Disallow: /caf%C3%A9", "/caf%c3%a9", False),
        ("Disallow: /café", "/caf%C3%A9", False),
        ("Disallow: /%7Ejoe", "/~joe", False),
        ("Disallow: /a%2Fb", "/a/b", True),
        ("disallow : /x # why", "/x", False),
    ],
)
def test_a_rule_is_about_what_it_fits(rules: str, path: str, may: bool) -> None:
    assert allowed(f"User-agent: *\n{rules}\n", path) is may


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("User-agent: other\nDisallow: /\n", True),
        ("User-agent: other\nUser-agent: tenantry\nDisallow: /\n", False),
        ("User-agent: TENANTRY/2.0\nDisallow: /\n", False),
        ("User-agent: tenantry-news\nDisallow: /\n", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: tenantry\nAllow: /\n", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: tenantry\n", True),
        ("User-agent: tenantry\nAllow: /a\n\nUser-agent: tenantry\nDisallow: /p\n", False),
        ("User-agent: tenantry\nDisallow: /a\nUser-agent: other\nDisallow: /p\n", True),
        ("User-agent: tenantry\nSitemap: x\nUser-agent: other\nDisallow: /p\n", False),
        ("Disallow: /\n", True),
        ("\ufeffUser-agent: *\rDisallow: /\r", False),
        ("<html><body>Not found: User-agent: *</body></html>", True),
    ],
)
def test_the_groups_that_name_us_are_ours(text: str, may: bool) -> None:
    assert allowed(text, "/page") is may


def test_more_rules_than_can_be_followed_keep_us_out() -> None:
    rules = [f"Disallow: /{number}\n" for number in range(MAX_RULES + 1)]
    assert allowed("User-agent: *\n" + "".join(rules[:-1]), "/page")
    assert not allowed("User-agent: *\n" + "".join(rules), "/page")


@pytest.mark.parametrize(("rule", "most"), [("/x", MAX_CHARACTERS), ("/*x", MAX_WILD_CHARACTERS)])
def test_longer_rules_than_can_be_followed_keep_us_out(rule: str, most: int) -> None:
    """One of 500,000 stars took 4 MB, and 60 ms for each of 5,000 pages."""
    longest = rule.ljust(most, "x")
    assert allowed(f"User-agent: *\nDisallow: {longest}\n", "/page")
    assert not allowed(f"User-agent: *\nDisallow: {longest}x\n", "/page")


def test_a_hostile_rule_ends_as_soon_as_any() -> None:
    stars = "/" + "*a" * 1000 + "*b$"
    assert allowed(f"User-agent: *\nDisallow: {stars}\n", "/" + "a" * 2000)
