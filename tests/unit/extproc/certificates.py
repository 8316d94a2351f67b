"""A certificate authority, a server and a client certificate with SPIFFE-style names, made anew for a test."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make(directory: Path) -> dict[str, str]:
    """Paths of `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key` by name."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def sign(name: x509.Name, key: ec.EllipticCurvePrivateKey, sans: list[x509.GeneralName], authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    def write(name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )

    write("ca", authority_key, sign(authority_name, authority_key, [], True))
    for name, organisation, sans in (
        ("server", "Shop", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        ("client", "Shop", [x509.UniformResourceIdentifier("spiffe://shop/ns/web/sa/front"), x509.DNSName("front.web.svc")]),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, "front" if name == "client" else name),
            ]
        )
        write(name, key, sign(subject, key, sans, False))
    return {file.name: str(file) for file in directory.iterdir() if file.suffix in (".pem", ".key")}


def transport_socket(files: dict[str, str]) -> dict[str, Any]:
    """Envoy's downstream TLS that asks for, but does not demand, a client certificate."""
    return {
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [
                    {"certificate_chain": {"filename": files["server.pem"]}, "private_key": {"filename": files["server.key"]}}
                ],
                "validation_context": {"trusted_ca": {"filename": files["ca.pem"]}},
            },
        },
    }


def client_context(files: dict[str, str], with_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files["ca.pem"])
    if with_certificate:
        context.load_cert_chain(files["client.pem"], files["client.key"])
    return context
