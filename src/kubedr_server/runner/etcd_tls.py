"""Finds out why a TLS connection to etcd does not come about.

etcdctl answers everything with "context deadline exceeded" after its timeout. Here the same connection is
made with the same files, up to etcd's first answer: with TLS 1.3 a refused client certificate only
shows when one reads.
"""

import asyncio
import ssl
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.settings import EtcdSettings

PROBE_SECONDS = 5.0
_EXPIRY_WARNING = timedelta(days=14)
_SETTINGS_FRAME = b"\x04"
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_HOST_MISMATCH = (62, 64)
_SECRET = "etcd's Secret (spec.etcdCreds of the policy)"


def check_client_certificate(settings: EtcdSettings, now: datetime) -> str | None:
    """Check the client certificate's dates; return a warning if it expires soon.

    RunFailureError (EtcdTLSFailed) if it is no certificate, or not valid now.
    """
    try:
        certificates = x509.load_pem_x509_certificates(settings.certificate_file.read_bytes())
    except ValueError:
        raise _failed(f"client.crt in {_SECRET} is not a PEM certificate.") from None
    certificate = certificates[0]
    end = certificate.not_valid_after_utc
    if end < now:
        raise _failed(
            f"The etcd client certificate expired on {end:%Y-%m-%d %H:%M} UTC: renew it (kubeadm certs "
            "renew) and "
            f"update client.crt and client.key in {_SECRET}."
        )
    if certificate.not_valid_before_utc > now:
        raise _failed(
            "The etcd client certificate is valid only from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} "
            "UTC on: check the clock of this node and of whoever issued it."
        )
    if end - now < _EXPIRY_WARNING:
        return f"The etcd client certificate expires on {end:%Y-%m-%d %H:%M} UTC: renew it before."
    return None


def context(settings: EtcdSettings) -> ssl.SSLContext:
    """Return what the probe connects with; RunFailureError (EtcdTLSFailed) says which file is no good."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # As Go does it: a common name is not a host name.
    made.hostname_checks_common_name = False
    made.set_alpn_protocols(["h2"])
    try:
        made.load_verify_locations(settings.ca_file)
    except ssl.SSLError:
        raise _failed(f"ca.crt in {_SECRET} is not a PEM certificate.") from None
    try:
        made.load_cert_chain(settings.certificate_file, settings.key_file, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        if "KEY_VALUES_MISMATCH" in str(error).upper() or "key values mismatch" in str(error):
            raise _failed(f"client.key does not belong to client.crt in {_SECRET}.") from None
        raise _failed(f"client.key in {_SECRET} is not an unencrypted PEM key.") from None
    return made


async def probe(endpoint: str, tls: ssl.SSLContext | None, seconds: float = PROBE_SECONDS) -> None:
    """Connect to an endpoint as etcdctl would; `tls` for https.

    Raises RunFailureError: EtcdUnreachable (nothing answers there) or EtcdTLSFailed (and why).
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    secure = parts.scheme == "https"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls if secure else None)
            try:
                writer.write(_HTTP2_PREFACE)
                await writer.drain()
                _check_answer(endpoint, host, port, await reader.read(9))
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise _unreachable(host, port, f"no answer within {seconds:.0f} seconds") from None
    except ssl.SSLCertVerificationError as error:
        raise _failed(_server_certificate(endpoint, error)) from None
    except ssl.SSLError as error:
        raise _failed(_handshake(endpoint, error)) from None
    except OSError as error:
        raise _unreachable(host, port, _cause(error)) from None


def _check_answer(endpoint: str, host: str, port: int, answer: bytes) -> None:
    if answer[3:4] == _SETTINGS_FRAME:
        return
    if endpoint.startswith("http://"):
        raise _failed(
            f"etcd at {host} port {port} does not speak plain http: is spec.etcdEndpoint an https:// one?"
        )
    if not answer:
        raise _unreachable(host, port, "the connection was closed at once")
    raise _unreachable(host, port, "what answers there is not etcd")


def _no_password() -> bytes:
    """Answer OpenSSL's question for a key's password, which else waits at a terminal."""
    return b""


def _server_certificate(endpoint: str, error: ssl.SSLCertVerificationError) -> str:
    detail = error.verify_message.rstrip(".")
    if error.verify_code in _HOST_MISMATCH:
        return (
            f"etcd's certificate at {endpoint} is for other host names ({detail}): use a name or an "
            "address that "
            "is in it as spec.etcdEndpoint."
        )
    if "expired" in detail:
        return f"etcd's own certificate at {endpoint} has expired: renew it (kubeadm certs renew)."
    return (
        f"etcd's certificate at {endpoint} is not accepted ({detail}): is ca.crt in {_SECRET} the authority "
        "of this etcd?"
    )


def _handshake(endpoint: str, error: ssl.SSLError) -> str:
    text = str(error).lower().replace("_", " ")
    if "certificate required" in text:
        return f"etcd at {endpoint} asks for a client certificate and got none that it can use."
    if "expired" in text:
        return f"etcd at {endpoint} says that the client certificate has expired: check both clocks."
    if any(
        word in text for word in ("bad certificate", "unknown ca", "certificate unknown", "unsupported cert")
    ):
        return (
            f"etcd at {endpoint} refuses the client certificate: client.crt in {_SECRET} has to be issued by "
            "the authority that etcd trusts (--trusted-ca-file), for client use."
        )
    if "wrong version number" in text or "record layer failure" in text:
        return f"etcd at {endpoint} does not speak TLS there: is spec.etcdEndpoint an http:// address?"
    return f"No TLS connection to etcd at {endpoint}: {error.reason or 'the handshake failed'}."


def _cause(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionResetError):
        return "the connection was reset"
    return (error.strerror or type(error).__name__).lower()


def _unreachable(host: str, port: int, cause: str) -> RunFailureError:
    return RunFailureError(
        Reason.ETCD_UNREACHABLE,
        f"etcd at {host} port {port} cannot be reached: {cause}. Check spec.etcdEndpoint of the policy, "
        "and that "
        "etcd runs on this node.",
    )


def _failed(message: str) -> RunFailureError:
    return RunFailureError(Reason.ETCD_TLS_FAILED, message)
