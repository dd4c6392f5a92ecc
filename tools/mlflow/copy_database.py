"""Copies MLflow's database from SQLite into a new PostgreSQL: runs, registry, traces, users. docs/mlflow-storage.md.

    python copy_database.py sqlite:////mlflow/mlflow.db

The target is `MLFLOW_BACKEND_STORE_URI`, with libpq's variables (`PGHOST`, `PGPASSWORD`, …) as the chart sets them. It
runs inside an image of MLflow, which makes the target's tables, so it uses nothing but MLflow and SQLAlchemy. All rows
go in one transaction: it works as a whole, or the target stays as it was. The source is only read.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import mlflow
import sqlalchemy as sa

BATCH = 5000
"""Rows read and written at a time; metrics can be millions."""
VERSIONS = ("alembic_version", "alembic_version_auth")
"""Tables with the revision of MLflow's schema and of its users' schema."""
LOCATIONS = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}


class CopyError(Exception):
    """Why nothing was copied."""


def source_of(uri: str) -> sa.Engine:
    """An engine on the SQLite file that cannot write to it."""
    url = sa.make_url(uri)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise CopyError(f"the source must be a SQLite file such as sqlite:////mlflow/mlflow.db, not {uri}")
    if not os.path.exists(url.database):
        raise CopyError(f"there is no file {url.database}")
    return sa.create_engine(f"sqlite:///file:{os.path.abspath(url.database)}?mode=ro&uri=true")


def target_of(uri: str, *, users: bool) -> sa.Engine:
    """An engine on the target, whose tables MLflow has made by now."""
    if not uri.startswith("postgresql"):
        raise CopyError(f"MLFLOW_BACKEND_STORE_URI must name the PostgreSQL to copy into; it is {uri or 'not set'}")
    mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    engine = sa.create_engine(uri, hide_parameters=True)  # rows are nothing for a log
    if users:
        from mlflow.server.auth.db.utils import migrate_if_needed

        migrate_if_needed(engine, "head")
    return engine


def revisions(connection: sa.Connection) -> dict[str, str]:
    """The schema's revision and, with basic-auth, that of the users' tables."""
    there = set(sa.inspect(connection).get_table_names())
    return {
        table: connection.execute(sa.text(f"SELECT version_num FROM {table}")).scalar_one()
        for table in VERSIONS
        if table in there
    }


def tables_to_copy(source: sa.Connection, target: sa.Connection) -> list[sa.Table]:
    """The target's tables, those that others refer to first. Raises CopyError where a row would find no place."""
    metadata = sa.MetaData()
    metadata.reflect(target)
    tables = [table for table in metadata.sorted_tables if table.name not in VERSIONS]
    inspector = sa.inspect(source)
    known = {table.name: {column.name for column in table.columns} for table in tables}
    for name in sorted(set(inspector.get_table_names()) - set(VERSIONS)):
        if name not in known and _count(source, name):
            raise CopyError(f"the source has rows in a table that MLflow {mlflow.__version__} does not have: {name}")
        lost = {column["name"] for column in inspector.get_columns(name)} - known.get(name, set())
        if name in known and lost:
            raise CopyError(f"{name} has columns in the source that the target lacks: {', '.join(sorted(lost))}")
    return [table for table in tables if inspector.has_table(table.name)]


def check_new(target: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Raises CopyError if the target has more than MLflow puts into a new database, which is the Default experiment."""
    made_by_mlflow = {"experiments": 1, "workspaces": 1}
    for table in tables:
        if (count := _count(target, table.name)) > made_by_mlflow.get(table.name, 0):
            raise CopyError(f"the target is in use already: {count} rows in {table.name}. Copy into a new database")


def rows(source: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    """Batches of a table's rows as SQLite has them, but for booleans, which it keeps as integers, and for columns that
    the database computes."""
    present = {column["name"] for column in sa.inspect(source).get_columns(table.name)}
    names = [column.name for column in table.columns if column.name in present and column.computed is None]
    booleans = [column.name for column in table.columns if isinstance(column.type, sa.Boolean)]
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    plain = sa.select(*columns).select_from(sa.table(table.name))
    for batch in source.execution_options(stream_results=True).execute(plain).mappings().partitions(BATCH):
        made = [dict(row) for row in batch]
        for row in made:
            row.update({name: bool(row[name]) for name in booleans if row.get(name) is not None})
        yield made


def copy_table(source: sa.Connection, target: sa.Connection, table: sa.Table) -> int:
    """Copies one table, sets its sequences after the last number; the number of rows."""
    copied = 0
    for batch in rows(source, table):
        # Without types: JSON is text on both sides, and SQLAlchemy would quote it once more.
        untyped = sa.table(table.name, *(sa.column(name) for name in batch[0]))
        target.execute(sa.insert(untyped), batch)
        copied += len(batch)
    if copied != (wanted := _count(target, table.name)):
        raise CopyError(f"{table.name}: {copied} rows were read, the target has {wanted}")
    for column in table.primary_key.columns:
        serial = sa.select(sa.func.pg_get_serial_sequence(_quoted(target, table.name), column.name))
        # An experiment may have number 0, the Default one, which is no value of a sequence.
        if (sequence := target.execute(serial).scalar()) and (last := target.scalar(sa.select(sa.func.max(column)))):
            target.execute(sa.select(sa.func.setval(sequence, last)))
    return copied


def elsewhere(source: sa.Connection) -> dict[str, int]:
    """How many rows name artifacts that are not behind the server: they keep their places, so those must stay."""
    found = {}
    for table, column in LOCATIONS.items():
        outside = sa.text(f"SELECT count(*) FROM {table} WHERE {column} NOT LIKE 'mlflow-artifacts:%'")
        if count := source.execute(outside).scalar_one():
            found[table] = count
    return found


def copy(source: sa.Connection, target: sa.Connection) -> dict[str, int]:
    """Copies all within the target's transaction; rows of each table. Raises CopyError."""
    have, want = revisions(source), revisions(target)
    if stale := [table for table in have if have[table] != want.get(table)]:
        raise CopyError(
            f"the source's schema is {have[stale[0]]}, MLflow {mlflow.__version__} has {want.get(stale[0], 'none')}: "
            "start this version's server on SQLite first, with mlflow.upgradeDatabase"
        )
    tables = tables_to_copy(source, target)
    check_new(target, tables)
    for table in reversed(tables):
        target.execute(sa.delete(table))
    return {table.name: _copied(source, target, table) for table in tables}


def _copied(source: sa.Connection, target: sa.Connection, table: sa.Table) -> int:
    try:
        return copy_table(source, target, table)
    except (sa.exc.SQLAlchemyError, ValueError) as error:
        said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise CopyError(f"PostgreSQL does not take the rows of {table.name}: {said}") from error


def _count(connection: sa.Connection, table: str) -> int:
    count: int = connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
    return count


def _quoted(connection: sa.Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="URI of the SQLite database; no server may use it meanwhile")
    try:
        with source_of(parser.parse_args(arguments).source).connect() as source:
            uri = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
            with target_of(uri, users=VERSIONS[1] in revisions(source)).begin() as target:
                copied = copy(source, target)
            outside = elsewhere(source)
    except (CopyError, sa.exc.SQLAlchemyError) as error:
        print(f"nothing was copied: {error}", file=sys.stderr)
        return 1
    for table, count in copied.items():
        print(f"{count:>9} {table}")
    print(f"{sum(copied.values()):>9} rows in all, committed")
    for table, count in outside.items():
        print(f"note: {count} {table} name artifacts outside of the server (not mlflow-artifacts:/); they stay there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
