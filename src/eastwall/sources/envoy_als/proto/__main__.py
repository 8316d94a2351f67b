"""Runs protoc over the .proto file here: `python -m eastwall.sources.envoy_als.proto`, from a source tree."""

from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[3]
INCLUDE = Path(protoc.__file__).resolve().parent / "_proto"

files = sorted(str(path.relative_to(SOURCE)) for path in HERE.glob("*.proto"))
raise SystemExit(protoc.main(["protoc", f"-I{SOURCE}", f"-I{INCLUDE}", f"--python_out={SOURCE}", *files]))
