"""Builds the Envoy shim (C, libc only) into the wheel. Everything else is in pyproject.toml.

Without a C compiler, or when the compile fails, the wheel is still built, pure Python, and says so: the ext_proc adapter is
then used. `EASTWALL_REQUIRE_SHIM=1` turns that into an error (release builds and CI).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

SHIM = Path("src/eastwall/dataplanes/envoy/shim")
LIBRARY = "libeastwall_shim.so"
CFLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror=implicit-function-declaration", "-fPIC", "-fvisibility=hidden",
          "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-D_GNU_SOURCE"]


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
        command = [*compiler.split(), *CFLAGS, "-shared", "-o", str(target / LIBRARY), *sources, "-lpthread", "-Wl,-z,relro,-z,now"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return True
        problem = f"the compiler failed:\n{done.stderr}"
    message = f"eastwall: building WITHOUT the Envoy shim: {problem}\neastwall: calls will go through the slower ext_proc adapter."
    if os.environ.get("EASTWALL_REQUIRE_SHIM") == "1":
        raise SystemExit(message)
    print(message, file=sys.stderr)
    return False


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            compile_shim(Path(self.build_lib) / "eastwall/dataplanes/envoy/shim")


class EditableWheel(editable_wheel):
    def run(self) -> None:
        compile_shim(SHIM)
        super().run()


class BdistWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        # The shim is a plain shared object without libpython: any Python 3, this platform. Without it, the wheel is pure.
        _, _, platform = super().get_tag()
        built = (Path("build/lib") / "eastwall/dataplanes/envoy/shim" / LIBRARY).exists() or any(Path("build").glob(f"lib*/eastwall/dataplanes/envoy/shim/{LIBRARY}"))
        return ("py3", "none", platform if built else "any")


class WithShim(Distribution):
    def has_ext_modules(self) -> bool:
        return sys.platform == "linux"


setup(distclass=WithShim, cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel, "bdist_wheel": BdistWheel})
