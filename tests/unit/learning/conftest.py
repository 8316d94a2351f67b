"""What tests of adaptation share."""

from __future__ import annotations

import pytest

from eastwall.runtime.importing import Importer
from eastwall.runtime.layout import open_data_dir


@pytest.fixture(scope="session")
def automata(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    importer = Importer(open_data_dir(tmp_path_factory.mktemp("automata")), "automata")
    importer.close()
    return importer.engine.automata()
