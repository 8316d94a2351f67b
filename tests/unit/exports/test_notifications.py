"""Webhook and syslog on real sockets: what arrives, what is refused, what is cut off."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.exports import syslog, webhook
from eastwall.exports.delivery import DeliveryError, addresses_of

Got = list[tuple[str, dict[str, str], bytes]]


@contextmanager
def receiver(status: int = 204, headers: dict[str, str] | None = None) -> Iterator[tuple[str, Got]]:
    got: Got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()


def refused(act: Callable[[], object]) -> tuple[str, bool]:
    with pytest.raises(DeliveryError) as told:
        act()
    return str(told.value), told.value.again


def test_a_webhook_gets_the_document_and_the_token() -> None:
    with receiver() as (url, got):
        webhook.post(f"{url}/hook?x=1", b'{"a":1}', bearer="t0ken")
    ((path, headers, body),) = got
    assert (path, body, headers["authorization"], headers["content-type"]) == (
        "/hook?x=1",
        b'{"a":1}',
        "Bearer t0ken",
        "application/json",
    )


@pytest.mark.parametrize(("status", "again"), [(500, True), (503, True), (429, True), (404, False), (401, False), (302, False)])
def test_other_answers_fail_and_say_whether_to_try_again(status: int, again: bool) -> None:
    with receiver() as (elsewhere, stolen), receiver(status, {"location": elsewhere}) as (url, got):
        assert refused(lambda: webhook.post(url, b"{}", bearer="t0ken")) == (f"the receiver answered {status}", again)
    assert len(got) == 1
    assert stolen == [], "a redirect is not followed"


def test_what_does_not_answer_is_cut_off_also_when_it_trickles() -> None:
    stop = threading.Event()

    class Trickle(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while not stop.wait(0.05):
                try:
                    self.request.sendall(b"x")
                except OSError:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Trickle) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        assert refused(lambda: webhook.post(url, b"{}", timeout=0.3))[1] is True
        stop.set()
        server.shutdown()


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "0.0.0.0", "224.0.0.1", "[fe80::1]", "[::ffff:169.254.169.254]", "[::]", "2852039166", "0xa9fea9fe"],
)
def test_the_metadata_service_and_its_like_are_no_place_for_notifications(host: str) -> None:
    assert refused(lambda: webhook.post(f"http://{host}:80/latest", b"{}")) == (
        "the host has no address that notifications may go to",
        False,
    )


def test_a_host_that_is_not_there_is_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert refused(lambda: webhook.post(f"http://127.0.0.1:{port}/", b"{}")) == ("Connection refused", True)
    assert refused(lambda: addresses_of("no-such-host.invalid", 80, socket.SOCK_STREAM)) == ("the host is not known", True)
    assert refused(lambda: webhook.post("http://127.0.0.1:99999/", b"{}"))[1] is False


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        said, again = refused(lambda: webhook.post(f"https://127.0.0.1:{server.server_port}/", b"{}", bearer="t0ken"))
        assert said.startswith("its certificate does not verify: ")
        assert again is False
        trusted = ssl.create_default_context(cafile=str(certificate))
        # It is the receiver, which knows no POST, that says no now.
        assert (
            refused(lambda: webhook.post(f"https://127.0.0.1:{server.server_port}/", b"{}", context=trusted))[0]
            == "the receiver answered 501"
        )
    finally:
        server.shutdown()
        server.server_close()


def _certificate(folder: Path) -> Path:
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1)).not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "server.pem"
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(plain + made.public_bytes(serialization.Encoding.PEM))
    return path


# -- syslog -----------------------------------------------------------------------------------------------------------

MESSAGE = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255}) eastwall (\d+) ([!-~]{1,32}) (-|\[.*\]) \xef\xbb\xbf(.*)",
    re.DOTALL,
)


def made(**about: str) -> bytes:
    return syslog.message(1_700_000_000.25, "high", "playbook-run", about, "guard: 5 calls of user:älice", host="node 1", pid=7)


def test_a_syslog_message_is_as_the_rfc_says() -> None:
    assert made(run="run_1", key='user:"a]\\') == (
        b'<107>1 2023-11-14T22:13:20.250000Z node_1 eastwall 7 playbook-run [eastwall@32473 run="run_1" key="user:\\"a\\]\\\\"] '
        b"\xef\xbb\xbf" + "guard: 5 calls of user:älice".encode()
    )
    assert b" playbook-run - " in made()


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_nothing_out_of_a_call_makes_a_second_message_or_field(text: str, value: str, name: str, host: str) -> None:
    data = syslog.message(1.0, "critical", "x", {name: value}, text, host=host, pid=1)
    found = MESSAGE.fullmatch(data)
    assert found is not None
    assert b"\n" not in data
    assert b"\0" not in data
    # One element: an unescaped quote, backslash or bracket would end it.
    assert found[6] == b"-" or re.fullmatch(rb'\[eastwall@32473 [!#-<>-\\^-~]{1,32}="([^"\\\]]|\\["\\\]])*"\]', found[6])


def test_syslog_over_udp_is_one_datagram_that_is_cut_between_characters() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        address = f"udp://127.0.0.1:{server.getsockname()[1]}"
        syslog.send(address, made(run="r"))
        assert server.recv(65_536) == made(run="r")
        syslog.send(address, "ä".encode() * 2_000 + b"x")
        cut = server.recv(65_536)
        assert len(cut) == syslog.MAX_UDP
        cut.decode()


def test_syslog_over_tcp_counts_octets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        syslog.send(f"tcp://127.0.0.1:{server.getsockname()[1]}", made())
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as stream:
            assert stream.read() == str(len(made())).encode() + b" " + made()


def test_a_syslog_server_that_is_away_is_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert refused(lambda: syslog.send(f"tcp://127.0.0.1:{port}", b"x")) == ("Connection refused", True)
    assert refused(lambda: syslog.send("udp://169.254.0.1:514", b"x"))[1] is False
