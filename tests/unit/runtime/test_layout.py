"""The data directory: private, safe below a shared temporary directory, and short enough for sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from eastwall.runtime.layout import MAX_SOCKET_PATH, DataDirError, default_data_dir, existing_data_dir, open_data_dir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        data = open_data_dir(tmp_path / "data")
    finally:
        os.umask(old)
    folders = [data.root, data.spool, data.snapshots, data.policy, data.secrets, data.logs]
    assert {mode(path) for path in folders} == {0o700}
    assert mode(data.run) == 0o700
    assert {mode(path) for path in data.secrets.iterdir()} == {0o600}
    assert len(data.token()) >= 32
    assert len((data.secrets / "hash.key").read_bytes()) == 32


def test_secrets_stay(tmp_path: Path) -> None:
    first = open_data_dir(tmp_path)
    token, key = first.token(), (first.secrets / "hash.key").read_bytes()
    again = open_data_dir(tmp_path)
    assert (again.token(), (again.secrets / "hash.key").read_bytes()) == (token, key)
    other = open_data_dir(tmp_path / "other")
    assert other.token() != token


def test_a_secrets_folder_that_others_may_read_is_closed(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o755)
    open_data_dir(tmp_path)
    assert mode(secrets) == 0o700


def test_a_long_path_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    short, long = tmp_path / "a", tmp_path / ("long" * 30)
    run = open_data_dir(long).run
    try:
        assert len(str(run / "engine-63.sock")) < MAX_SOCKET_PATH
        assert run.parent != long
        assert mode(run) == 0o700
        assert open_data_dir(long).run == run, "the same directory next time"
        assert open_data_dir(tmp_path / ("Long" * 30)).run != run, "and another one for another"
    finally:
        run.rmdir()
    assert short.name == "a"


@pytest.mark.skipif(os.getuid() != 0, reason="giving a directory to another user needs root")
def test_somebody_elses_directory_is_not_trusted(tmp_path: Path) -> None:
    root = tmp_path / ("foreign" * 20)
    run = open_data_dir(root).run
    try:
        os.chown(run, 12345, 12345)
        with pytest.raises(DataDirError, match="another user"):
            open_data_dir(root)
    finally:
        run.rmdir()


def test_a_link_in_the_place_of_the_shared_directory_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / ("linked" * 20)
    run = open_data_dir(root).run
    run.rmdir()
    target = tmp_path / "target"
    target.mkdir()
    run.symlink_to(target)
    try:
        with pytest.raises(DataDirError, match="link"):
            open_data_dir(root)
    finally:
        run.unlink()


def test_what_is_no_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="--data") as caught:
        open_data_dir(tmp_path / "file" / "below")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataDirError, match="eastwall up"):
        existing_data_dir(tmp_path)
    open_data_dir(tmp_path / "data")
    assert existing_data_dir(tmp_path / "data").root == (tmp_path / "data").resolve()


def test_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EASTWALL_DATA", raising=False)
    assert default_data_dir() == Path(".eastwall")
    monkeypatch.setenv("EASTWALL_DATA", "/somewhere")
    assert default_data_dir() == Path("/somewhere")
