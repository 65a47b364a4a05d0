"""Documentation under test: settings, links and the README's own examples."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server import endpoint_metrics, quota_metrics  # noqa: F401  # they add metrics
from server.metrics import REGISTRY
from server.settings import env_example, variables
from tenancy import errors
from tenancy.personalisation import FIELDS as SAID
from tenancy.personalisation import Source
from tenancy.plan import FIELDS
from tests.support.house import House

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if path.is_file()
)
BLOCK = re.compile(r"```bash\n(.+?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def test_the_example_environment_is_generated_from_the_settings() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    assert [t for t in targets if not (document.parent / t).exists()] == []


def test_every_file_that_the_isolation_page_names_is_there() -> None:
    page = (ROOT / "docs" / "isolation.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:server|graph|storage|tools|tests)/[\w/.]+)`", page)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_status_of_the_error_tree_is_documented() -> None:
    page = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    statuses = set(re.findall(r" (\d{3})  ", errors.__doc__ or ""))
    assert {status for status in statuses if status not in page} <= {"500"}


def test_every_field_of_a_plan_is_documented() -> None:
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    fields = page.partition("## Fields")[2].partition("## Money")[0]
    assert [name for name in FIELDS if f"`{name}`" not in fields] == []


def test_who_may_say_what_of_an_assistant_is_documented() -> None:
    page = (ROOT / "docs" / "personalisation.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    said = {row[0]: row[1:8] for row in rows if len(row) == 9}  # field, how combined, six sources
    documented = {
        f"`{name}`": [rule.combine, *("✓" if each in rule.sources else "" for each in Source)]
        for name, rule in SAID.items()
    }
    assert {name: row for name, row in said.items() if name.startswith("`")} == documented


def test_every_setting_is_described() -> None:
    assert [name for name, description in variables().items() if not description] == []


def test_every_metric_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    families = [f for f in REGISTRY.collect() if not f.name.endswith("_created")]
    names = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert set(re.findall(r"^\| `(tenantry_\w+)`", page, re.MULTILINE)) == names
    samples = names | {f"{name}_bucket" for name in names}
    assert set(re.findall(r"tenantry_\w+", page)) <= samples


def _commands(block: str) -> Iterator[list[str]]:
    for line in block.replace("\\\n", " ").splitlines():
        if line.strip():
            yield shlex.split(line)


@pytest.fixture(scope="module")
def environment(product: House) -> dict[str, str]:
    """What a shell needs to use the product's own stores."""
    return {
        **os.environ,
        "DATABASE_URL": product.stores.app_url,
        "TENANTRY_OWNER_DATABASE_URL": product.stores.owner_url or "",
        "REDIS_URL": product.stores.redis_url,
        "TENANTRY_SEAL_KEY": product.stores.seal_key.text,
        "TENANTRY_DATA_DIR": str(product.settings.data_dir),
    }


def _run(words: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "server.cli", *words[1:]]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def _curl(words: list[str], product: House, token: str) -> httpx.Response:
    """What curl does with the few options that the README uses."""
    headers, fields = {}, {}
    method, url, body = "GET", "", None
    rest = iter(words[1:])
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value.replace("$TOKEN", token)
        elif word == "-d":
            method, body = "POST", next(rest)
        elif word == "-F":
            method = "POST"
            name, _, path = next(rest).partition("=@")
            fields[name] = (path, (ROOT / path).read_bytes())
        elif word.startswith("http"):
            url = word.replace("http://127.0.0.1:8000", product.url)
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.request(
            method, url, headers=headers, content=body, files=fields or None
        )


async def test_the_readmes_examples_run(product: House, environment: dict[str, str]) -> None:
    ran, token = 0, ""
    for block in BLOCK.findall(README):
        for words in _commands(block):
            ran += 1
            if words[0] == "curl":
                answer = await _curl(words, product, token)
                assert answer.status_code in (200, 201), answer.text
                json.loads(answer.text)
            elif words[0].startswith("TOKEN=$("):
                inner = re.search(r"TOKEN=\$\((.+)\)", block)
                assert inner
                token = _run(shlex.split(inner[1]), environment).strip()
            else:
                assert words[0] == "tenantry"
                _run(words, environment)
    assert ran >= 12
