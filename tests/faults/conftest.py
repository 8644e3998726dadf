"""What tests of faults share: a study of one model that has its tables."""

from __future__ import annotations

import copy

import pytest
from studies import TABLES, TINY

from workflow_project import Project


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Project:
    """A project in which a study of one model has its tables; clone it before changing anything."""
    project = Project.fresh(tmp_path_factory.mktemp("tiny") / "project")
    project.configure(copy.deepcopy(TINY))
    project.complete(*TABLES)
    return project
