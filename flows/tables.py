"""The Prefect flow that regenerates the tables; the counting is in `pipeline`.

The annotations are evaluated here: Prefect builds a model of a flow's parameters from them.
"""

from pathlib import Path

from flows.engine import surroundings

from prefect import flow  # isort: skip  (after flows.engine, which sets its defaults)

from db.engine import open_database
from pipeline.material import read_material
from pipeline.patterns import read_patterns
from pipeline.study_tables import study_tables, write_tables


@flow(name="tables", flow_run_name="tables", retries=0, persist_result=False)
def regenerate_tables(folder: str, forms: list[str]) -> int:
    """Write every table of the study into `folder` in each form; return the number of files."""
    settings = surroundings().settings
    database = open_database(settings.database_url)
    try:
        with database.reading() as session:
            material = read_material(session, everything=True)
            patterns = read_patterns(session, settings.study)
    finally:
        database.close()
    found = study_tables(material, settings.study, everything=True)
    return len(write_tables([*found, patterns], Path(folder), forms))
