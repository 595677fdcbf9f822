"""The emulated BigQuery answers every audit; what audits decide is tested in tests/unit/elt/warehouse."""

import pytest
import taxi

from elt.catalogue.registry import DATASETS
from elt.provenance import Loaded, Origin
from elt.stages.warehouse import open_staging
from elt.warehouse import audits
from elt.warehouse.tables import ensure

pytestmark = pytest.mark.emulators


@pytest.mark.parametrize("name", DATASETS)
def test_every_audit_can_be_asked_of_its_dataset(stack, name):
    """In the tables as they are: empty, with a row that fits, with one that breaks all rules about values."""
    ds = DATASETS[name]
    request = stack.request(ds, "2024-01" if ds.every else None)
    with stack.warehouse() as bq:
        ensure(bq)
        loaded = Loaded(Origin("c", "v"), 0, 0, 0)
        staged = audits.Staged(request, open_staging(request, bq, loaded), loaded)
        verdicts = audits.judge(bq, [staged])[request.period]
    assert {verdict.audit for verdict in verdicts} == {audit.name for audit in ds.audits}
    assert all(verdict.passed for verdict in verdicts), "nothing to complain about in no rows"


def test_rows_are_judged_and_the_answers_are_kept(stack, faulty_source):
    faulty_source.serve(taxi.YELLOW.format("2024-01"), taxi.parquet(taxi.trips("2024-01", 100)))
    for stage in ("download", "conform", "stage", "audit"):
        stack.run(stage)
    kept = stack.select("SELECT audit, passed FROM TABLE", "audit_results")
    assert {row["audit"] for row in kept} == {audit.name for audit in DATASETS["yellow"].audits}
    assert all(row["passed"] for row in kept)
