"""Optuna's own contract for storages, on the storage that the ledger stands on, and on what other tools see of it."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.testing.pytest_storages import StorageTestCase

from hpo.journal import Journal, LedgerStorage
from hpo.line_file import LineFile


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    file = LineFile(tmp_path / "ledger.journal")
    yield Journal(file.path, file=file)
    file.close()


@pytest.fixture
def storage(journal: Journal) -> LedgerStorage:
    return LedgerStorage(journal)


class TestLedgerStorage(StorageTestCase):
    """Every test that Optuna ships; none is left out."""


def test_optunas_own_backend_reads_what_was_flushed(journal: Journal, tmp_path: Path) -> None:
    study = optuna.create_study(storage=LedgerStorage(journal), study_name="toy")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    path = tmp_path / "ledger.journal"
    assert path.stat().st_size == 0
    journal.flush(sync=True)
    theirs = optuna.load_study(study_name="toy", storage=JournalStorage(JournalFileBackend(str(path))))
    assert theirs.trials == study.trials


def test_a_reader_follows_the_writer(journal: Journal, tmp_path: Path) -> None:
    study = optuna.create_study(storage=LedgerStorage(journal), study_name="toy")
    journal.flush(sync=False)
    reader = optuna.load_study(study_name="toy", storage=LedgerStorage(Journal(tmp_path / "ledger.journal")))
    for count in (1, 2):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        assert len(reader.trials) == count - 1
        journal.flush(sync=False)
        assert len(reader.trials) == count


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    storage = LedgerStorage(Journal(path))
    assert storage.get_all_studies() == []
    with pytest.raises(PermissionError, match="opened for reading"):
        optuna.create_study(storage=storage)
    assert not path.exists()


def test_what_is_read_is_not_written_into(storage: LedgerStorage) -> None:
    """A sampler may be walking the record of a trial that another thread reports to."""
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    (seen,) = study.get_trials(deepcopy=False)
    trial.report(1.0, 1)
    trial.set_user_attr("key", 1)
    trial.set_constraint("diverged", -1.0)
    trial.suggest_float("x", 0, 1)
    assert (seen.intermediate_values, seen.user_attrs, seen.system_attrs, seen.params) == ({}, {}, {}, {})
