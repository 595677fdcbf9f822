"""Which tables a dbt project reads, and which DAG follows from that."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import AssetAny, PartitionedAssetTimetable

from elt.errors import SettingError
from elt.orchestration.dbt import DbtProject


def project(folder: Path, sources: str, head: str = "name: mine\n") -> DbtProject:
    models = folder / "mine" / "dbt" / "models"
    (models / "marts").mkdir(parents=True)
    (models.parent / "dbt_project.yml").write_text(head)
    (models / "sources.yml").write_text(sources)
    (models / "marts" / "by_month.sql").write_text("select 1")
    (found,) = DbtProject.of_packages(folder)
    return found


def reading(*tables: str) -> str:
    return f'sources: [{{name: published, schema: "{{{{ target.schema }}}}", tables: [{", ".join(tables)}]}}]'


def test_tables_are_known_by_the_name_that_they_have_in_the_store(tmp_path):
    found = project(tmp_path, reading("{name: trips, identifier: green_trips}", "{name: load_log}"))
    assert (found.name, found.makes()) == ("mine", ["by_month"])
    assert [asset.name for asset in found.inlets()] == ["green_table"]
    schedule = found.schedule()
    assert isinstance(schedule, PartitionedAssetTimetable)
    # Whatever the period, one key: what dbt computes is all that has arrived.
    assert schedule.default_partition_mapper.to_downstream("2024-01") == "all"


def test_marts_are_followed_too(tmp_path):
    assert [asset.name for asset in project(tmp_path, reading("{name: payment_mix}")).inlets()] == [
        "payment_mix"
    ]


def test_a_table_without_periods_is_followed_where_nothing_else_is_read(tmp_path):
    schedule = project(tmp_path, reading("{name: zones}")).schedule()
    assert isinstance(schedule, AssetAny)
    assert [asset.name for asset in schedule.objects] == ["zones_table"]


@pytest.mark.parametrize(
    "text", ["", "version: 2", reading("{name: elsewhere}")], ids=["none", "no-sources", "others"]
)
def test_a_project_that_reads_nothing_of_the_catalogue_has_no_schedule(tmp_path, text):
    assert project(tmp_path, text).schedule() is None


@pytest.mark.parametrize(("head", "said"), [("a: [", "is not YAML"), ("profile: x", "has no name")])
def test_what_is_no_project_is_said(tmp_path, head, said):
    with pytest.raises(SettingError, match=rf"dbt_project\.yml {said}"):
        project(tmp_path, "", head)
