"""A new restic repository whose key is quick to open.

restic makes its keys so that trying a password takes half a second of a processor, at each of a run's
commands. That is right for a real repository, and most of the time of a test. The key here is in restic's own
format, with the smallest work factor; nothing else differs from what `restic init` makes.
"""

import base64
import hashlib
import json
import os

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_WORK = {"N": 2, "r": 1, "p": 1}
_POLYNOMIAL = "25b468838dcb75"
"""Any irreducible one will do: it decides where files are cut into chunks."""

_R_MASK = bytes.fromhex("ffffff0ffcffff0ffcffff0ffcffff0f")


class _Keys:
    """restic's pair of keys: AES-256 in counter mode, and Poly1305-AES over what comes out."""

    def __init__(self, material: bytes) -> None:
        self.encrypt, self.k = material[:32], material[32:48]
        self.r = bytes(a & b for a, b in zip(material[48:64], _R_MASK, strict=True))

    def seal(self, plain: bytes) -> bytes:
        """Return nonce, ciphertext and its authentication code."""
        nonce = os.urandom(16)
        secret = Cipher(algorithms.AES(self.encrypt), modes.CTR(nonce)).encryptor().update(plain)
        # One block under a key of its own: this is how Poly1305-AES is defined.
        pad = Cipher(algorithms.AES(self.k), modes.ECB()).encryptor().update(nonce)  # noqa: S305
        return nonce + secret + Poly1305.generate_tag(self.r + pad, secret)

    def to_json(self) -> bytes:
        """Return the form in which a repository's master key is stored."""
        mac = {"k": _text(self.k), "r": _text(self.r)}
        return json.dumps({"mac": mac, "encrypt": _text(self.encrypt)}).encode()


def planted(password: str) -> dict[str, bytes]:
    """Return the objects of a new and empty repository, by their names in it."""
    salt = os.urandom(64)
    derived = hashlib.scrypt(password.encode(), salt=salt, n=_WORK["N"], r=_WORK["r"], p=_WORK["p"], dklen=64)
    master = _Keys(os.urandom(64))
    key = {
        "created": "2026-01-01T00:00:00Z",
        "username": "tests",
        "hostname": "tests",
        "kdf": "scrypt",
        **_WORK,
        "salt": _text(salt),
        "data": _text(_Keys(derived).seal(master.to_json())),
    }
    encoded = json.dumps(key).encode()
    config = {"version": 2, "id": os.urandom(32).hex(), "chunker_polynomial": _POLYNOMIAL}
    return {
        f"keys/{hashlib.sha256(encoded).hexdigest()}": encoded,
        "config": master.seal(json.dumps(config).encode()),
    }


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
