"""The control process: `python -m eastwall.runtime.control_main --data DIR --console HOST:PORT [--policy PATH] [--mode MODE]`.

It writes DIR/run/control.json (`{"url": ...}`) when the API answers. SIGTERM and SIGINT drain the spool, save what was learned,
close the lake. What keeps it from starting is one line on stderr and exit code 1. Nothing secret is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eastwall.runtime.layout import DataDir, DataDirError, open_data_dir

if TYPE_CHECKING:
    from eastwall.runtime.control import Control
    from eastwall.sources.kubernetes_watch import KubernetesWatch


class StartFault(Exception):
    """Why control does not start; one line."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eastwall-control", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--console", default="127.0.0.1:9440", help="HOST:PORT of console and API")
    parser.add_argument("--policy", type=Path, help="policy file or folder to apply at start")
    parser.add_argument("--mode", choices=("discover", "monitor", "enforce"), help="mode of all services")
    parser.add_argument("--policy-git", default="", help="Git repository to keep the applied policies in step with")
    parser.add_argument("--policy-ref", default="HEAD", help="branch or tag of it")
    parser.add_argument("--policy-path", default="", help="folder or file in it")
    parser.add_argument("--policy-interval", type=float, default=60.0, help="seconds between looks")
    parser.add_argument("--policy-signers", type=Path, help="allowed signers file: commits must be signed (SSH)")
    parser.add_argument("--policy-keyring", type=Path, help="GnuPG home directory: commits must be signed (OpenPGP)")
    parser.add_argument("--kubernetes", default="", help="API server whose pods are known as callers, or `in-cluster`")
    parser.add_argument("--retention-days", type=int, default=0, help="drop calls older than this; 0 keeps all")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(options)
    except (StartFault, DataDirError) as error:
        print(f"eastwall control: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Run until a signal. Raises StartFault, DataDirError."""
    # Recording and learning can wait, callers cannot: where cores are short, engine and Envoy go first, and records wait in the spool.
    # Before anything starts a thread: niceness is a thread's own, and inherited.
    os.nice(10)
    data = open_data_dir(options.data)
    mark = data.run / "control.parent"
    listener = listen(options.console)
    # The listener first: a port that is taken must not open the lake and read the spool of a control that runs.
    with listener:
        control = open_control(data, options.retention_days)
        cluster = None
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        try:
            cluster = follow_cluster(control, options.kubernetes)
            follow_repository(control, options)
            if not is_restart(mark):
                apply_options(control, options.policy, options.mode)
                mark.write_text(_process(os.getppid()))
            # Records come and go by the thousand without cycles; looking for some each 700 objects took a tenth of the time.
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            control.start()
            serve(control, data, listener, stop)
            mark.unlink(missing_ok=True)
        finally:
            data.control_file.unlink(missing_ok=True)
            if cluster is not None:
                cluster.stop()
            control.stop()


def listen(address: str) -> socket.socket:
    """The console's socket. Raises StartFault."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or int(port) > 65_535:
        raise StartFault(f"--console `{address}`: write HOST:PORT, e.g. 127.0.0.1:9440")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as error:
        raise StartFault(
            f"the console cannot listen on {address}: {error.strerror}; name another address with --console"
        ) from None
    return listener


def open_control(data: DataDir, retention_days: int) -> Control:
    """Raises StartFault."""
    try:
        import fastapi
        import uvicorn

        from eastwall.runtime.control import Control
        from eastwall.stores.chdb.lake import LakeError
        from eastwall.stores.spool import SpoolBusyError

        _ = fastapi, uvicorn
    except ImportError as error:
        raise StartFault(f"control needs the package `{error.name}`: install eastwall[all]") from None
    try:
        return Control(data, retention_days=retention_days)
    except (LakeError, SpoolBusyError, ValueError, OSError) as error:
        raise StartFault(str(error)) from None


def follow_cluster(control: Control, server: str) -> KubernetesWatch | None:
    """Know callers by the pods of a cluster. Raises StartFault."""
    if not server:
        return None
    from eastwall.sources.kubernetes_watch import KubernetesWatch
    from eastwall.sources.observed import SourceError

    try:
        if server == "in-cluster":
            cluster = KubernetesWatch.in_cluster(on_change=control.pods_changed)
        else:
            cluster = KubernetesWatch(server, on_change=control.pods_changed)
    except SourceError as error:
        raise StartFault(f"--kubernetes: {error}") from None
    control.follow(cluster)
    cluster.start()
    return cluster


def follow_repository(control: Control, options: argparse.Namespace) -> None:
    """Keep policies in step with a Git repository. Raises StartFault."""
    if not options.policy_git:
        return
    from eastwall.runtime.policy_watch import Watched
    from eastwall.sources import git

    signers = None
    if options.policy_signers or options.policy_keyring:
        signers = git.Signers(options.policy_signers, options.policy_keyring)
    try:
        control.follow_repository(
            Watched(options.policy_git, options.policy_ref, options.policy_path, options.policy_interval, signers)
        )
    except git.GitError as error:
        raise StartFault(f"--policy-git: {error}") from None


def is_restart(mark: Path) -> bool:
    """Whether --policy and --mode are to be left: when the supervisor that gave them restarts us after a crash, since the user may
    have changed mode or policies in the meantime. `mark` holds who started us last; an orderly end removes it."""
    parent = _process(os.getppid())
    try:
        return bool(parent) and mark.read_text() == parent
    except OSError:
        return False


def _process(pid: int) -> str:
    """Pid and start time, so that a reused pid is another process; empty for init, which supervises nothing of ours."""
    if pid <= 1:
        return ""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""


def apply_options(control: Control, policy: Path | None, mode: str | None) -> None:
    """Raises StartFault with all faults of the policy, one a line."""
    from eastwall.model.audit import Who
    from eastwall.runtime.layout import user_name
    from eastwall.runtime.policy_files import PolicyFilesError
    from eastwall.runtime.policy_sources import from_directory
    from eastwall.runtime.policy_store import PolicyFaultsError

    try:
        who = Who("command-line", name=user_name())
        if policy is not None:
            source = from_directory(policy)
            control.apply_policy(source.files, source.attachments, who=who, origin=source.origin, force=True)
        if mode is not None:
            control.set_mode("all", mode, who=who)
    except PolicyFaultsError as error:
        raise StartFault("the policy has faults: " + "; ".join(str(f) for f in error.faults if not f.warning)) from None
    except PolicyFilesError as error:
        raise StartFault(str(error)) from None
    except OSError as error:
        raise StartFault(f"`{error.filename}` cannot be used: {error.strerror}") from None


def serve(control: Control, data: DataDir, listener: socket.socket, stop: threading.Event) -> None:
    """Answer the API until `stop`."""
    import uvicorn

    from eastwall.console.app import create_app
    from eastwall.stores.chdb.lake import LakeError

    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    app = create_app(control, token=data.token(), host=host, unavailable=(LakeError,))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=3, lifespan="off"
    )

    def ready() -> None:
        part = data.control_file.with_suffix(".part")
        part.write_text(json.dumps({"url": f"http://{shown}:{port}", "pid": os.getpid()}))
        part.replace(data.control_file)

    server = _server(config, ready)

    def watch() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=watch, name="stop-watch", daemon=True).start()
    server.run(sockets=[listener])


def _server(config: Any, ready: Callable[[], None]) -> Any:
    """A uvicorn server that leaves signals to us, and calls `ready` when it answers (uvicorn is an extra: imported here)."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    return Server(config)


if __name__ == "__main__":
    sys.exit(main())
