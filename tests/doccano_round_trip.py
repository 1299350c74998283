"""Takes JSON Lines into a new doccano project and exports it again; run by a Python that has doccano.

`doccano_round_trip.py IN.jsonl OUT.jsonl` uses doccano's own import and export, with a database of its
own in a temporary folder. Whatever doccano could not take goes to standard error.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def round_trip(source: Path, target: Path) -> list[str]:
    """Import `source`, export to `target`, and return doccano's errors."""
    project, user = _project()
    from data_import.datasets import load_dataset
    from data_import.pipeline.catalog import JSONL
    from data_import.pipeline.readers import FileName

    files = [FileName(str(source), source.name, source.name)]
    dataset = load_dataset(project.project_type, JSONL(), files, project, encoding="utf_8")
    dataset.save(user)
    _export(project, target)
    return [f"line {error.line_num}: {error.message}" for error in dataset.errors]


def _project() -> tuple[Any, Any]:
    """Start doccano and return a project of a category and spans for each text, and its owner."""
    import backend

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.development"
    os.environ["DATABASE_URL"] = f"sqlite:///{tempfile.mkdtemp()}/doccano.db"
    sys.path.insert(0, str(Path(backend.__file__).parent))
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from projects.models import IntentDetectionAndSlotFillingProject, ProjectType

    call_command("migrate", verbosity=0)
    user = get_user_model().objects.create_user(username="somebody")
    project = IntentDetectionAndSlotFillingProject.objects.create(
        name="threads",
        project_type=ProjectType.INTENT_DETECTION_AND_SLOT_FILLING,
        created_by=user,
        collaborative_annotation=True,
    )
    return project, user


def _export(project: Any, target: Path) -> None:
    from data_export.models import ExportedExample
    from data_export.pipeline.dataset import Dataset
    from data_export.pipeline.factories import create_comment, create_formatter, create_labels, create_writer
    from data_export.pipeline.services import ExportApplicationService

    examples = ExportedExample.objects.filter(project=project)
    dataset = Dataset(examples, create_labels(project, examples), create_comment(examples))
    service = ExportApplicationService(dataset, create_formatter(project, "JSONL"), create_writer("JSONL"))
    service.export(str(target))


if __name__ == "__main__":
    wrong = round_trip(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    sys.exit("\n".join(wrong) or 0)
