"""The life of our own certificate authority, as a calendar."""

from datetime import UTC, datetime, timedelta

from cryptography import x509

from kubedr_server.ops.self_signed import (
    CA_BUNDLE,
    CA_KEY,
    CA_LIFE,
    CERTIFICATE,
    CERTIFICATE_KEY,
    CERTIFICATE_LIFE,
    NEXT_CA,
    OVERLAP,
    plan,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = [x509.DNSName("kubedr-webhook.kubedr-system.svc")]


def authorities(data: dict[str, bytes]) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(data[CA_BUNDLE])


def leaf(data: dict[str, bytes]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(data[CERTIFICATE])


def is_trusted(certificate: x509.Certificate, bundle: list[x509.Certificate]) -> bool:
    return any(
        certificate.issuer == authority.subject and _signed(certificate, authority) for authority in bundle
    )


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - any failure means no
        return False
    return True


def test_nothing_becomes_a_ca_and_a_certificate_for_our_names() -> None:
    data = plan({}, HOSTS, START)
    assert is_trusted(leaf(data), authorities(data))
    names = leaf(data).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == HOSTS
    assert leaf(data).not_valid_after_utc == START + CERTIFICATE_LIFE


def test_what_is_well_stays_as_it_is() -> None:
    data = plan({}, HOSTS, START)
    assert plan(data, HOSTS, START + timedelta(minutes=1)) == data
    settled = plan(data, HOSTS, START + timedelta(days=30))
    assert settled == data


def test_other_names_need_another_certificate_of_the_same_ca() -> None:
    data = plan({}, HOSTS, START)
    other = plan(data, [x509.DNSName("elsewhere")], START + timedelta(days=1))
    assert other[CERTIFICATE] != data[CERTIFICATE]
    assert authorities(other)[0] == authorities(data)[0]


def test_damaged_parts_are_made_anew() -> None:
    data = plan({}, HOSTS, START)
    for key in (CERTIFICATE, CERTIFICATE_KEY, CA_BUNDLE, CA_KEY):
        repaired = plan({**data, key: b"damaged"}, HOSTS, START)
        assert is_trusted(leaf(repaired), authorities(repaired))


def test_through_five_years_no_replica_serves_what_an_api_server_does_not_trust() -> None:
    """Each step sees the bundle of the step before: an API server that has not heard of the newest yet."""
    moment, step = START, timedelta(minutes=20)
    data = plan({}, HOSTS, moment)
    signers, previous = set(), data
    while moment < START + CA_LIFE * 2.5:
        settled = data == previous and NEXT_CA not in data and len(authorities(data)) == 1
        moment += timedelta(days=3) if settled else step
        previous, data = data, plan(data, HOSTS, moment)
        assert is_trusted(leaf(data), authorities(data)), moment
        assert is_trusted(leaf(data), authorities(previous)), "a new certificate of a CA not yet trusted"
        assert is_trusted(leaf(previous), authorities(data)), "an old certificate of a CA no longer trusted"
        assert leaf(data).not_valid_after_utc > moment + timedelta(days=5)
        signers.add(authorities(data)[0].fingerprint(authorities(data)[0].signature_hash_algorithm))  # type: ignore[arg-type] # ECDSA always has one
    assert len(signers) >= 3


def test_after_a_rotation_the_old_ca_is_dropped() -> None:
    data = plan({}, HOSTS, START)
    first = authorities(data)[0]
    moment = START + CA_LIFE * 0.7
    data = plan(data, HOSTS, moment)
    assert first in authorities(data)
    assert len(authorities(data)) == 2
    data = plan(data, HOSTS, moment + OVERLAP)
    assert authorities(data)[0] != first
    data = plan(data, HOSTS, moment + 3 * OVERLAP)
    assert first not in authorities(data)
    assert NEXT_CA not in data


def test_a_server_that_was_off_through_the_rotation_begins_anew() -> None:
    data = plan({}, HOSTS, START)
    late = plan(data, HOSTS, START + CA_LIFE + timedelta(days=1))
    assert is_trusted(leaf(late), authorities(late))
    assert all(one.not_valid_after_utc > START + CA_LIFE for one in authorities(late))
