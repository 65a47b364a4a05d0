"""The mutations of the benchmarks still have their place in the source."""

from pathlib import Path

import pytest

from bench import component_mutations, verifier_mutations
from bench.verifier_mutations import Mutation

HOUSE = Path(__file__).parent.parent.parent
ALL = [*verifier_mutations.MUTATIONS, *component_mutations.MUTATIONS]


@pytest.mark.parametrize("mutation", ALL, ids=lambda each: f"{each.file}-{each.old[:40]}")
def test_a_mutation_has_one_place(mutation: Mutation) -> None:
    assert (HOUSE / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1
