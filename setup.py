"""Builds the Envoy shim (C, libc only), the hot loops of the engine in C and its compiled patterns into the wheel. Everything else is in
pyproject.toml.

Without a C compiler (and Python's headers, for the loops), or when a compile fails, the wheel is still built and says so: the ext_proc
adapter and the loops' Python twins are then used. `EASTWALL_REQUIRE_SHIM=1` turns that into an error (release builds and CI).

The loops keep to the limited API (PEP 384), so that one wheel, `cp311-abi3`, serves every Python from 3.11 on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import BaseError, CCompilerError

SHIM = Path("src/eastwall/dataplanes/envoy/shim")
LIBRARY = "libeastwall_shim.so"
CFLAGS = [
    "-std=c11",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
    "-fPIC",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-D_GNU_SOURCE",
]
LOOPS = {
    "eastwall.protocols._survey": "src/eastwall/protocols/_survey.c",
    "eastwall.discovery._walk": "src/eastwall/discovery/_walk.c",
    "eastwall.discovery._values": "src/eastwall/discovery/_values.c",
    "eastwall.discovery._raw": "src/eastwall/discovery/_raw.c",
    "eastwall.detections._texts": "src/eastwall/detections/_texts.c",
}
AUTOMATA = "eastwall/runtime/automata.built"
LIMITED_API = "0x030B0000"


def compile_shim(target: Path) -> bool:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    sources = sorted(str(source) for source in SHIM.glob("*.c"))
    problem = ""
    if sys.platform != "linux":
        problem = f"the shim is for Linux, this is {sys.platform}"
    elif not compiler or not shutil.which(compiler.split()[0]):
        problem = "no C compiler found (install gcc or clang)"
    else:
        target.mkdir(parents=True, exist_ok=True)
        command = [
            *compiler.split(),
            *CFLAGS,
            "-shared",
            "-o",
            str(target / LIBRARY),
            *sources,
            "-lpthread",
            "-Wl,-z,relro,-z,now",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return True
        problem = f"the compiler failed:\n{done.stderr}"
    missing("the Envoy shim", problem, "calls will go through the slower ext_proc adapter")
    return False


def compile_patterns(root: Path) -> None:
    """The built-in patterns as hyperscan databases, so that no first start has to compile them (see `runtime.automata_file`)."""
    target = (root / AUTOMATA).resolve()
    target.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "eastwall.runtime.automata_build", str(target)],
        env={**os.environ, "PYTHONPATH": str(root.resolve()), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if "No module named" in problem:
            problem += " where the wheel is built (build with --no-isolation beside the dependencies)"
        missing("the compiled patterns", problem, "a first start will compile them, in a second of CPU")


def missing(what: str, problem: str, instead: str) -> None:
    """Say what the wheel will lack; with `EASTWALL_REQUIRE_SHIM=1` it must lack nothing."""
    message = f"eastwall: building WITHOUT {what}: {problem}\neastwall: {instead}."
    if os.environ.get("EASTWALL_REQUIRE_SHIM") == "1":
        raise SystemExit(message)
    print(message, file=sys.stderr)


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            compile_shim(Path(self.build_lib) / "eastwall/dataplanes/envoy/shim")
            compile_patterns(Path(self.build_lib))


class BuildExt(build_ext):
    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (CCompilerError, BaseError, OSError) as error:
            missing(
                f"the loop {ext.name}",
                f"{error} (a C compiler and the headers of Python are needed: gcc, python3-dev)",
                "its Python twin will be used: the same answers, at twice the CPU per call (four times for large bodies)",
            )


class EditableWheel(editable_wheel):
    def run(self) -> None:
        compile_shim(SHIM)
        super().run()


def built(pattern: str) -> bool:
    return any(Path("build").glob(f"lib*/eastwall/{pattern}"))


class BdistWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        if built("*/_*.abi3.so"):
            return ("cp311", "abi3", platform)
        # The shim is a plain shared object without libpython: any Python 3, this platform. Without it, the wheel is pure.
        return ("py3", "none", platform if built(f"dataplanes/envoy/shim/{LIBRARY}") else "any")


class WithShim(Distribution):
    def has_ext_modules(self) -> bool:
        return sys.platform == "linux"


setup(
    distclass=WithShim,
    cmdclass={"build_py": BuildPy, "build_ext": BuildExt, "editable_wheel": EditableWheel, "bdist_wheel": BdistWheel},
    ext_modules=[
        Extension(
            name,
            [source],
            py_limited_api=True,
            optional=True,
            define_macros=[("Py_LIMITED_API", LIMITED_API)],
            extra_compile_args=[
                "-std=c11",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Wno-missing-field-initializers",
                "-fvisibility=hidden",
                "-fstack-protector-strong",
            ],
            extra_link_args=["-Wl,-z,relro,-z,now"],
        )
        for name, source in LOOPS.items()
    ],
)
