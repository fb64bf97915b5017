"""What objects have in common: names, uids, labels, field managers; and things that do not compress."""

import base64
import json
from datetime import datetime
from random import Random
from typing import Any, Final

from benchmarks.protobuf import Message, Object, stored

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes names' random endings of."""
_VOCABULARY: Final = """
account address agent api archive audit auth backend balance batch billing branch broker bucket
build cache cart catalog channel checkout client cluster collector config connector consumer content
core crawler customer data delivery device digest dispatch document domain driver edge email engine
event export feed fetcher file filter flow frontend gateway graph group guard handler health history
hook identity image import index ingest insight inventory invoice job journal kernel key ledger
legal limit link list loader locale log mail manager market media member merge message metric mirror
mobile model monitor network node notify offer order origin output packet page partner payment
permission planner platform player policy portal price printer process product profile proxy
publisher queue quota rating reader record region registry relay render report request resolver
result review router rule sales scanner scheduler schema search seller sender session setting shard
shipping signal site socket sorter source stage stock storage stream studio subscriber support
survey sync table tag task tenant text ticket timer token topic tracker trade traffic transfer
trigger tunnel update upload user vault vector vendor video view voucher wallet warehouse watcher
web webhook worker writer zone
"""
WORDS: Final = tuple(_VOCABULARY.split())


def put_together(api_version: str, kind: str, schema: Message, obj: Object) -> bytes:
    """Return an object as it is stored."""
    return stored(api_version, kind, schema(obj))


def words(random: Random, count: int, separator: str = "-") -> str:
    """Return some words."""
    return separator.join(random.choices(WORDS, k=count))


def ending(random: Random, length: int = 5) -> str:
    """Return a random ending of a name."""
    return "".join(random.choices(_ALPHABET, k=length))


def hexadecimal(random: Random, digits: int) -> str:
    """Return random hexadecimal digits."""
    return f"{random.getrandbits(4 * digits):0{digits}x}"


def uid(random: Random) -> str:
    """Return a random UUID, version 4."""
    digits = hexadecimal(random, 32)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def secret_text(random: Random, size: int) -> str:
    """Return text that does not compress beyond what its alphabet gives: a token, a compressed release."""
    return base64.b64encode(random.randbytes(size * 3 // 4)).decode()


def pem(random: Random, label: str, size: int) -> str:
    """Return something that looks as a PEM file does, and compresses as little."""
    body = secret_text(random, size)
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def prose(random: Random, size: int) -> str:
    """Return a configuration file's text: words, settings, numbers."""
    lines: list[str] = []
    length = 0
    while length < size:
        indent = "  " * random.randrange(3)
        value = random.choice((words(random, 2), str(random.randrange(10000)), "true", "false"))
        lines.append(f"{indent}{words(random, 2, '_')}: {value}")
        length += len(lines[-1]) + 1
    return "\n".join(lines) + "\n"


def meta(
    random: Random,
    name: str,
    at: datetime,
    *,
    namespace: str = "",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    owner: tuple[str, str, str, str] | None = None,
    managed: list[Object] | None = None,
) -> Object:
    """Return an object's metadata. `owner` is apiVersion, kind, name and uid."""
    found: Object = {"name": name, "uid": uid(random), "creationTimestamp": at}
    if namespace:
        found["namespace"] = namespace
    if labels:
        found["labels"] = labels
    if annotations:
        found["annotations"] = annotations
    if owner:
        version, kind, owner_name, owner_uid = owner
        reference = {"apiVersion": version, "kind": kind, "name": owner_name, "uid": owner_uid}
        found["ownerReferences"] = [{**reference, "controller": 1, "blockOwnerDeletion": 1}]
    if managed:
        found["managedFields"] = managed
    return found


def managed(manager: str, version: str, at: datetime, fields: bytes, *, subresource: str = "") -> Object:
    """Return an entry of `managedFields`; `fields` as `field_set` returns them."""
    entry: Object = {"manager": manager, "operation": "Update", "apiVersion": version, "time": at}
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": {"raw": fields}}
    return entry | ({"subresource": subresource} if subresource else {})


def field_set(obj: Object) -> bytes:
    """Return the FieldsV1 that names all of an object's fields."""
    return json.dumps(_fields(obj), separators=(",", ":")).encode()


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"f:{name}": _fields(inner) for name, inner in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        key = next((name for name in ("name", "type", "ip", "uid") if name in value[0]), None)
        if key is not None:
            return {
                f"k:{json.dumps({key: item[key]}, separators=(',', ':'))}": {".": {}, **_fields(item)}
                for item in value
            }
    return {}
