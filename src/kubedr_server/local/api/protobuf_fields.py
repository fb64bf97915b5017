"""Writes protobuf_fields.json: the field numbers of the kinds that Go clients send as protobuf.

Go's typed clients (`kubectl create job`, helm's storage) encode built-in kinds as protobuf. The
numbers are in the struct tags of k8s.io/api; Debian packages its source:

    apt-get download golang-k8s-api-dev golang-k8s-apimachinery-dev   # then: dpkg -x … SOURCE
    python -m kubedr_server.local.api.protobuf_fields SOURCE/usr/share/gocode/src/k8s.io

The result maps a type to its fields: number -> `[json name, type, flags]`. The type is `string`,
`bytes`, `int`, `bool`, `double` or another type's name; the flags are `*` pointer, `[]`
list, `{}` map, `-` left out of JSON when empty, `.` inlined.
"""

import json
import re
import sys
from pathlib import Path

_PACKAGES = {
    "meta/v1": "apimachinery/pkg/apis/meta/v1",
    "core/v1": "api/core/v1",
    "apps/v1": "api/apps/v1",
    "batch/v1": "api/batch/v1",
    "coordination/v1": "api/coordination/v1",
    "discovery/v1": "api/discovery/v1",
    "networking/v1": "api/networking/v1",
    "policy/v1": "api/policy/v1",
    "rbac/v1": "api/rbac/v1",
    "scheduling/v1": "api/scheduling/v1",
    "storage/v1": "api/storage/v1",
    "admissionregistration/v1": "api/admissionregistration/v1",
    "authorization/v1": "api/authorization/v1",
    "authentication/v1": "api/authentication/v1",
}
_ALIASES = {"metav1": "meta/v1", "v1": "core/v1", "corev1": "core/v1", "apiv1": "core/v1"}
_SPECIAL = {
    "resource.Quantity": "quantity",
    "intstr.IntOrString": "int-or-string",
    "runtime.RawExtension": "raw",
    "meta/v1.FieldsV1": "raw",
    "meta/v1.Time": "time",
    "meta/v1.MicroTime": "micro-time",
    "meta/v1.Verbs": "string",
}
_STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^type (\w+) (\S+)$", re.MULTILINE)
_FIELD = re.compile(r'^\t(?:(\w+)\s+)?(\S+)\s+`json:"([^"]*)"[^`]*protobuf:"(\w+),(\d+)[^"]*"', re.MULTILINE)

Fields = dict[str, list[str]]


def read_package(name: str, directory: Path) -> tuple[dict[str, Fields], dict[str, str]]:
    """Return the structs and the named basic types of one Go package."""
    source = "\n".join(path.read_text() for path in sorted(directory.glob("*types*.go")))
    named = {f"{name}.{alias}": basic for alias, basic in _NAMED.findall(source) if basic != "struct"}
    structs: dict[str, Fields] = {}
    for struct, body in _STRUCT.findall(source):
        fields: Fields = {}
        for _, go_type, tag, _, number in _FIELD.findall(body):
            json_name, _, rest = tag.partition(",")
            flags = "-" if "omitempty" in rest else ""
            flags += "." if "inline" in rest else ""
            fields[number] = [json_name, go_type, flags]
        if fields:
            structs[f"{name}.{struct}"] = fields
    return structs, named


def resolve(package: str, go_type: str, named: dict[str, str]) -> tuple[str, str]:
    """Return a Go type as the table writes it, and its flags."""
    flags = ""
    while True:
        if go_type.startswith("*"):
            go_type, flags = go_type[1:], flags + "*"
        elif go_type == "[]byte":
            return "bytes", flags
        elif go_type.startswith("[]"):
            go_type, flags = go_type[2:], flags + "[]"
        elif go_type.startswith("map["):
            go_type, flags = go_type.partition("]")[2], flags + "{}"
        else:
            break
        if f"{package}.{go_type}" in named:
            go_type = named[f"{package}.{go_type}"]
    basic = {"string": "string", "int32": "int", "int64": "int", "uint64": "int", "bool": "bool",
             "float64": "double", "types.UID": "string", "uint8": "int"}  # fmt: skip
    if go_type in basic:
        return basic[go_type], flags
    prefix, dot, last = go_type.rpartition(".")
    full = f"{_ALIASES.get(prefix, prefix)}.{last}" if dot else f"{package}.{go_type}"
    if full in _SPECIAL:
        return _SPECIAL[full], flags + ("[]" if full == "meta/v1.Verbs" else "")
    if full in named:
        inner, more = resolve(full.rpartition(".")[0], named[full], named)
        return inner, flags + more
    return full, flags


def build(source: Path) -> dict[str, Fields]:
    """Return the whole table."""
    structs: dict[str, Fields] = {}
    named: dict[str, str] = {}
    for name, path in _PACKAGES.items():
        found, basics = read_package(name, source / path)
        structs |= found
        named |= basics
    for struct, fields in structs.items():
        for entry in fields.values():
            entry[1], flags = resolve(struct.rpartition(".")[0], entry[1], named)
            if entry[1] in _SPECIAL.values() or entry[1] in structs or "." not in entry[1]:
                entry[2] += flags
            else:
                entry[1], entry[2] = "string", entry[2] + flags
    return structs


def main() -> None:
    """Write the table beside this module."""
    table = build(Path(sys.argv[1]))
    lines = [
        f"{json.dumps(name)}: {json.dumps(table[name], separators=(',', ':'))}" for name in sorted(table)
    ]
    target = Path(__file__).with_suffix(".json")
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
