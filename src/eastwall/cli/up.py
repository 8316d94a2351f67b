"""`eastwall up`: put Eastwall in front of services."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console

from eastwall.cli.client import json_option
from eastwall.cli.duration import Duration
from eastwall.cli.failure import USAGE, Failure
from eastwall.dataplanes.envoy.process import EnvoyError, shim_library
from eastwall.dataplanes.envoy.proxy import Adapter, Proxy, ProxyError, Tls, Upstream, check
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime.addresses import is_loopback
from eastwall.runtime.layout import DataDirError, default_data_dir, open_data_dir
from eastwall.runtime.supervisor import Options, StartError, Supervisor
from eastwall.sources import git

_UPSTREAM = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)=(?P<url>(?:https?|grpcs?|h2c)://[^@\s]+?)(?:@(?P<port>\d+))?$"
)


def parse_upstream(text: str, host: str, mode: Mode) -> Upstream:
    """`NAME=URL` or `NAME=URL@PORT`. Raises Failure."""
    found = _UPSTREAM.fullmatch(text)
    if found is None:
        raise Failure(
            f"`{text}` is not an upstream; write NAME=URL or NAME=URL@PORT, e.g. `orders=http://127.0.0.1:9000@8081`"
            " (the name in lower-case letters, digits and hyphens)",
            USAGE,
        )
    try:
        url = urlsplit(found["url"])
        problem = "" if url.hostname else "no host"
        _ = url.port
    except ValueError as error:
        problem = f"{str(error)[:1].lower()}{str(error)[1:]}"
    if not problem and (url.path not in ("", "/") or url.query or url.fragment):
        problem = "a path is not taken: name scheme, host and port only"
    port = int(found["port"]) if found["port"] else None
    if not problem and port is not None and not 1 <= port <= 65535:
        problem = f"there is no port {port}"
    if problem:
        raise Failure(f"`{text}`: {problem}", USAGE)
    scope = ServiceScope(name=found["name"], mode=mode)
    return Upstream(name=found["name"], url=found["url"].rstrip("/"), scope=scope, listen=(host, port) if port else None)


def parse_address(text: str, option: str) -> tuple[str, int]:
    """`HOST:PORT`, `:PORT` or `PORT`; IPv6 in brackets. Raises Failure."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 <= int(port) <= 65535:
        raise Failure(f"{option} `{text}`: write HOST:PORT, e.g. 127.0.0.1:8080", USAGE)
    return host, int(port)


def parse_tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if certificate is None and key is None:
        if client_ca is not None:
            raise Failure("--client-ca needs --certificate and --key", USAGE)
        return None
    if certificate is None or key is None:
        raise Failure("--certificate and --key belong together", USAGE)
    return Tls(
        certificate=certificate.resolve(),
        key=key.resolve(),
        client_ca=client_ca and client_ca.resolve(),
        require_client=client_ca is not None,
    )


def build_options(
    upstreams: tuple[str, ...],
    listen: str,
    console: str,
    policy: Path | None,
    mode: str | None,
    data: Path,
    adapter: str,
    engines: int,
    deadline_ms: int,
    tls: Tls | None = None,
    upstream_ca: Path | None = None,
    collector: tuple[str, ...] = (),
    kubernetes: str = "",
    policy_git: tuple[str, ...] = (),
    native_offload: bool = False,
) -> Options:
    """The options of a Supervisor. Raises Failure."""
    host, port = parse_address(listen, "--listen")
    level = Mode[mode.upper()] if mode else Mode.DISCOVER
    parsed = [parse_upstream(text, host, level) for text in upstreams]
    names = [u.name for u in parsed]
    for name in names:
        if names.count(name) > 1:
            raise Failure(f"two upstreams are named `{name}`; give each a name of its own", USAGE)
    shared = [u for u in parsed if u.listen is None]
    if len(shared) > 1:
        # Several services on one address: told apart by the Host header.
        hosted = {u.name: Upstream(name=u.name, url=u.url, scope=u.scope, hosts=(u.name, f"{u.name}.localhost")) for u in shared}
        parsed = [hosted.get(u.name, u) for u in parsed]
    if upstream_ca is not None:
        parsed = [
            Upstream(name=u.name, url=u.url, scope=u.scope, listen=u.listen, hosts=u.hosts, ca=upstream_ca.resolve())
            for u in parsed
        ]
    try:
        directory = open_data_dir(data)
    except DataDirError as error:
        raise Failure(str(error), USAGE) from None
    chosen: Adapter = "extproc" if adapter == "extproc" or (adapter == "auto" and shim_library() is None) else "shim"
    proxy = Proxy(
        upstreams=tuple(parsed),
        listen=(host, port),
        tls=tls,
        adapter=chosen,
        engine_sockets=tuple(str(directory.run / f"engine-{index}.sock") for index in range(engines)),
        run_dir=directory.run / "envoy",
        deadline_ms=deadline_ms,
        native_offload=native_offload,
    )
    try:
        check(proxy)
    except ProxyError as error:
        raise Failure(str(error), USAGE) from None
    where = parse_address(console, "--console")
    return Options(
        data=directory,
        proxy=proxy,
        console=where,
        policy=policy,
        mode=mode,
        collector=collector,
        kubernetes=kubernetes,
        policy_git=policy_git,
    )


def parse_receivers(given: dict[str, str | None], ask_token: bool) -> tuple[str, ...]:
    """Arguments of the receivers' process; empty when there are none. Raises Failure."""
    arguments: list[str] = []
    for option, text in given.items():
        if text:
            host, port = parse_address(text, option)
            arguments += [option, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    if ask_token and not arguments:
        raise Failure("--ingest-token needs --otlp, --otlp-http or --als", USAGE)
    return (*arguments, "--token") if ask_token else tuple(arguments)


def parse_policy_git(
    url: str, ref: str, path: str, interval: float, signers: Path | None, keyring: Path | None
) -> tuple[str, ...]:
    """Control's arguments about the repository to keep in step with. Raises Failure."""
    if not url:
        if ref or path or signers is not None or keyring is not None:
            raise Failure("--policy-ref, --policy-path, --policy-signers and --policy-keyring go with --policy-git", USAGE)
        return ()
    try:
        address = str(Path(url).resolve()) if Path(url).exists() else git.checked_url(url)
        git.checked_ref(ref or "HEAD")
    except git.GitError as error:
        raise Failure(f"--policy-git: {error}", USAGE) from None
    if not Path(address).exists() and not git.is_address(address):
        raise Failure(f"--policy-git `{url}`: there is no such directory, and it is no address", USAGE)
    if not 1 <= interval <= 86_400:
        raise Failure("--policy-interval: between 1s and 1d", USAGE)
    # With `=`: a value is never read as an option.
    arguments = [
        f"--policy-git={address}",
        f"--policy-ref={ref or 'HEAD'}",
        f"--policy-path={path}",
        f"--policy-interval={interval:g}",
    ]
    arguments += [f"--policy-signers={signers.resolve()}"] if signers is not None else []
    arguments += [f"--policy-keyring={keyring.resolve()}"] if keyring is not None else []
    return tuple(arguments)


@click.command(short_help="Put Eastwall in front of services.")
@click.option("--upstream", "upstreams", multiple=True, required=True, metavar="NAME=URL[@PORT]",
              help="A service to protect; repeat for more. With @PORT it gets a listener of its own, else it is reached over --listen"
              " (several: by Host header NAME or NAME.localhost).")  # fmt: skip
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where clients connect.")
@click.option("--policy", type=click.Path(path_type=Path, exists=True), help="Policy file or directory to apply at start.")
@click.option(
    "--mode",
    type=click.Choice([m.name.lower() for m in Mode]),
    help="Mode of all services [default: as last set, at first discover].",
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=default_data_dir,
              show_default="$EASTWALL_DATA or .eastwall", help="Where Eastwall keeps what it learns.")  # fmt: skip
@click.option("--console", default="127.0.0.1:9440", show_default=True, metavar="HOST:PORT", help="Where console and API listen.")
@click.option(
    "--adapter",
    type=click.Choice(["auto", "shim", "extproc"]),
    default="auto",
    show_default=True,
    help="How Envoy asks the engine.",
)
@click.option("--engines", type=click.IntRange(1, 64), default=1, show_default=True, help="Engine processes.")
@click.option(
    "--deadline-ms",
    type=click.IntRange(10, 60_000),
    default=1_000,
    show_default=True,
    help="What an engine may take before the fail mode applies.",
)
@click.option(
    "--certificate", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TLS certificate (PEM) for the listeners."
)
@click.option("--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its private key (PEM).")
@click.option(
    "--client-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Require client certificates of this CA (mTLS).",
)
@click.option(
    "--upstream-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CA of https upstreams [default: the system's].",
)
@click.option("--otlp", metavar="HOST:PORT", help="Receive OpenTelemetry traces over gRPC, e.g. 127.0.0.1:4317.")
@click.option("--otlp-http", metavar="HOST:PORT", help="Receive OpenTelemetry traces over HTTP, e.g. 127.0.0.1:4318.")
@click.option("--als", metavar="HOST:PORT", help="Receive Envoy's gRPC access logs.")
@click.option(
    "--ingest-token",
    is_flag=True,
    help="Ask the senders of traces and logs for the token in DATA/secrets/ingest-token; beyond loopback they always are.",
)
@click.option("--policy-git", default="", metavar="URL", help="Keep the policies in step with this Git repository.")
@click.option("--policy-ref", default="", metavar="REF", help="Its branch or tag [default: HEAD].")
@click.option("--policy-path", default="", metavar="FOLDER", help="Folder or file in it.")
@click.option("--policy-interval", type=Duration(), default="60s", show_default=True, help="How often to look: 30s, 5m.")
@click.option(
    "--policy-signers",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Take only commits signed by these SSH keys (allowed signers file).",
)
@click.option(
    "--policy-keyring",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take only commits signed by these OpenPGP keys (GnuPG home directory).",
)
@click.option(
    "--kubernetes",
    default="",
    metavar="URL",
    help="Know callers by the pods of this cluster's API server, e.g. of `kubectl proxy`; `in-cluster` inside of one.",
)
@click.option(
    "--native-offload",
    is_flag=True,
    help="Let Envoy itself refuse what policies close to everybody; such calls are counted per policy and not recorded.",
)
@json_option
def up(
    upstreams: tuple[str, ...],
    listen: str,
    policy: Path | None,
    mode: str | None,
    data: Path,
    console: str,
    adapter: str,
    engines: int,
    deadline_ms: int,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    upstream_ca: Path | None,
    otlp: str | None,
    otlp_http: str | None,
    als: str | None,
    ingest_token: bool,
    policy_git: str,
    policy_ref: str,
    policy_path: str,
    policy_interval: float,
    policy_signers: Path | None,
    policy_keyring: Path | None,
    kubernetes: str,
    native_offload: bool,
    as_json: bool,
) -> None:
    """Put Eastwall in front of services and stay until Ctrl-C.

    It starts in `discover`: traffic passes unchanged and undelayed, and the console fills with what your APIs really do. Later:
    `eastwall mode enforce`.
    """
    tls = parse_tls(certificate, key, client_ca)
    collector = parse_receivers({"--otlp": otlp, "--otlp-http": otlp_http, "--als": als}, ingest_token)
    if policy is not None and policy_git:
        raise Failure("--policy and --policy-git: name one of them", USAGE)
    watched = parse_policy_git(policy_git, policy_ref, policy_path, policy_interval, policy_signers, policy_keyring)
    options = build_options(
        upstreams,
        listen,
        console,
        policy,
        mode,
        data,
        adapter,
        engines,
        deadline_ms,
        tls,
        upstream_ca,
        collector,
        kubernetes,
        watched,
        native_offload,
    )
    out = Console(stderr=as_json, highlight=False)
    supervisor = Supervisor(options, lambda text: out.print(f"[yellow]![/] {text}"))
    supervisor.install_signals()
    try:
        supervisor.start()
    except (StartError, EnvoyError, ProxyError) as error:
        raise Failure(str(error)) from None
    banner(supervisor, out, as_json=as_json)
    try:
        supervisor.wait()
    finally:
        out.print("draining ...")
        supervisor.shutdown()
    out.print("stopped; nothing was lost.")


def banner(supervisor: Supervisor, out: Console, *, as_json: bool = False) -> None:
    """Where to point clients, where the console is."""
    from eastwall.cli.client import print_json

    options = supervisor.options
    url, token = supervisor.control_url(), options.data.token()
    rows = [(u.name, client_address(options.proxy, u), u.url) for u in options.proxy.upstreams]
    given = [argument for argument in options.collector if argument != "--token"]
    receivers = {option.removeprefix("--"): address for option, address in zip(given[::2], given[1::2], strict=True)}
    asked = "--token" in options.collector or not all(map(is_loopback, receivers.values()))
    token_file = options.data.secrets / "ingest-token"
    if as_json:
        services = [{"name": name, "listen": address, "upstream": url_} for name, address, url_ in rows]
        print_json(
            {
                "services": services,
                "console": url,
                "token": token,
                "adapter": options.proxy.adapter,
                "data": str(options.data.root),
                "receivers": receivers,
                "ingest_token_file": str(token_file) if asked else "",
            }
        )
        return
    out.print("[bold]Eastwall is up.[/] Point clients here:")
    for name, address, upstream in rows:
        out.print(f"  [cyan]{name:<14}[/] {address}  [dim]-> {upstream}[/]", soft_wrap=True)
    if options.proxy.adapter == "extproc":
        out.print("  [yellow]the Envoy shim is not in use: calls go through the slower ext_proc adapter[/]")
    out.print(f"console  [link={url}]{url}[/link]", soft_wrap=True)
    out.print(f"token    {token}", soft_wrap=True)
    out.print(f"data     {options.data.root}", soft_wrap=True)
    for name, address in receivers.items():
        out.print(f"{name:<9} {address}", soft_wrap=True)
    if asked:
        out.print(f"senders show the token in {token_file}", soft_wrap=True)
    out.print("Ctrl-C drains and stops.")


def client_address(proxy: Proxy, upstream: Upstream) -> str:
    host, port = upstream.listen or proxy.listen or ("", 0)
    scheme = "https" if proxy.tls else "http"
    where = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return where if not upstream.hosts else f"{where} (Host: {upstream.hosts[0]})"
