"""What history costs: an idle platform and its status, without and with 100,000 finished task instances."""

from __future__ import annotations

import re
import shlex
import subprocess
import time

import psycopg

from bench import platform
from bench.idle import uses
from bench.measure import MEGABYTE
from bench.section import Bench, Json, Section, Target

TASKS = 100_000
_ONE_DAY = """
    SELECT count(*) FROM task_instance JOIN dag_run r USING (dag_id, run_id) WHERE r.state = 'success'
"""
_ORIGINAL = "CREATE TEMP TABLE original AS SELECT dag_id, run_id FROM dag_run WHERE state = 'success'"
# Each run that there is, again and again, with its task instances: a day earlier each time.
_RUNS = """
    INSERT INTO dag_run SELECT made.* FROM dag_run r, generate_series(1, %(days)s) day,
    LATERAL jsonb_populate_record(r, jsonb_build_object(
        'id', nextval('dag_run_id_seq'), 'run_id', r.run_id || '-' || day,
        'logical_date', r.logical_date - make_interval(days => day),
        'run_after', r.run_after - make_interval(days => day),
        'queued_at', r.queued_at - make_interval(days => day),
        'start_date', r.start_date - make_interval(days => day),
        'end_date', r.end_date - make_interval(days => day))) made
    WHERE r.state = 'success'
"""
_TASKS = """
    INSERT INTO task_instance SELECT made.* FROM task_instance t JOIN original USING (dag_id, run_id),
    generate_series(1, %(days)s) day,
    LATERAL jsonb_populate_record(t, jsonb_build_object(
        'id', gen_random_uuid(), 'run_id', t.run_id || '-' || day,
        'start_date', t.start_date - make_interval(days => day),
        'end_date', t.end_date - make_interval(days => day))) made
"""


def history(bench: Bench) -> Section:
    """Measure the platform as it comes, and again with the history."""
    platform.down()
    with platform.running():
        return measure(bench)


def measure(bench: Bench) -> Section:
    """Measure a platform that is up."""
    before = _use(bench)
    with database() as connection, bench.progress.phase(f"{TASKS:,} task instances are written"):
        found = connection.execute(_ONE_DAY).fetchone()
        days = {"days": -(-TASKS // max(found[0] if found else 0, 1))}
        connection.execute(_ORIGINAL)
        for statement in (_RUNS, _TASKS):
            connection.execute(statement, days)
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
    after = _use(bench)
    cpu = after["scheduler_cpu_s_a_minute"] - before["scheduler_cpu_s_a_minute"]
    target = Target("more CPU seconds a minute of scheduler and database", cpu, at_most=1)
    return Section("", [], [target], {"before": before, "after": after})


def database() -> psycopg.Connection:
    """Airflow's, of the platform that is up."""
    command = platform.HOME.variables()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"]
    address = subprocess.run(
        shlex.split(command), capture_output=True, text=True, check=True, timeout=10
    ).stdout
    return psycopg.connect(re.sub(r"^postgresql\+\w+", "postgresql", address.strip()))


def held() -> Json:
    """Task instances, and megabytes, of Airflow's database."""
    text = "SELECT count(*), pg_database_size(current_database()) FROM task_instance"
    with database() as connection:
        count, size = connection.execute(text).fetchone() or (0, 0)
    return {"task_instances": count, "metadata_mb": size / MEGABYTE}


def _use(bench: Bench) -> Json:
    root = platform.manager()
    before = uses(root)
    with bench.progress.phase(f"nothing happens for {bench.seconds} s"):
        time.sleep(bench.seconds)
    after = uses(root)
    minute = {
        name: (use.cpu_s - before[name].cpu_s) * 60 / bench.seconds
        for name, use in after.items()
        if name in before
    }
    status = platform.command("status")[1]
    return {
        **held(),
        "scheduler_cpu_s_a_minute": sum(s for n, s in minute.items() if n == "scheduler" or "postgres" in n),
        "cpu_s_a_minute": minute,
        "status_s": status.whole_s,
        "status_cpu_s": status.cpu_s,
    }
