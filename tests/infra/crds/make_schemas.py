"""Makes the JSON schemas beside this file from an unpacked npm package; see the README for when and how.

The package holds a validator for each Go type of the Prometheus Operator's API, compiled to JavaScript by Ajv. What a
validator checks is written in it in a regular form, one function for each subschema, and is read back from there. A
function or an import that is of another form is an error, not a gap.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1"
KINDS: Final = ("ServiceMonitor", "PrometheusRule")
KEYWORDS: Final = {"type", "required", "enum", "pattern", "minLength", "format"}
TEXT: Final[dict[str, Any]] = {"type": "string"}
KEY_SELECTOR: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"key": TEXT, "name": TEXT, "optional": {"type": "boolean"}},
    "required": ["key"],
}
KUBERNETES: Final[dict[str, dict[str, Any]]] = {  # types of Kubernetes' own, as a CRD has them
    "IntOrString": {"type": ["integer", "string"]},
    "Quantity": {"type": ["integer", "string"]},
    "ObjectMeta": {"type": "object"},  # the API server looks at it by itself
    "SecretKeySelector": KEY_SELECTOR,
    "ConfigMapKeySelector": KEY_SELECTOR,
    "LabelSelector": {
        "type": "object",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": TEXT},
            "matchExpressions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"key": TEXT, "operator": TEXT, "values": {"type": "array", "items": TEXT}},
                    "required": ["key", "operator"],
                },
            },
        },
    },
}


class Package:
    """The validators of one unpacked package.

    Args:
        folder: its ``_schemas``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def schema_of(self, go_type: str) -> dict[str, Any]:
        """Give the schema of one Go type with all that it refers to in its place, embedded structs included."""
        if not (file := self._folder / f"{PREFIX}{go_type}.js").exists():
            raise SystemExit(f"{file} is not there: is this the package of the README?")
        return Module(file.read_text(encoding="utf-8"), package=self).schema_of_the_export()


class Module:
    """The validator of one Go type.

    Args:
        text: of its file.
        package: where the other types are.
    """

    def __init__(self, text: str, *, package: Package) -> None:
        self._text = text
        self._package = package
        self._bodies = dict(re.findall(r"function (validate\d+)\(data,.*?\)\{(.*?)\1\.errors=vErrors", text))
        self._imported = dict(re.findall(r'import\{validate as (validate\d+)\}from"([^"]+)"', text))

    def schema_of_the_export(self) -> dict[str, Any]:
        """Give what the file exports."""
        [name] = re.findall(r"export const validate=(validate\d+);", self._text)
        return self._schema_of(name)

    def _schema_of(self, function: str) -> dict[str, Any]:
        if (path := self._imported.get(function)) is not None:
            if path.startswith("./"):
                return self._package.schema_of(path.removeprefix(f"./{PREFIX}").removesuffix(".js"))
            [known] = [name for name in KUBERNETES if re.search(rf"(V1|Resource|Intstr){name}$", path)]
            return KUBERNETES[known]
        body = self._bodies[function]
        schema = self._keywords_of(body)
        properties = {
            (plain or quoted): self._schema_of(of)
            for plain, quoted, of in re.findall(r'void 0!==data(?:\.(\w+)|\["([^"]+)"\])&&\((validate\d+)\(data', body)
            if (plain or quoted) != "status"  # written by the operator, never by us
        }
        if properties:
            schema["properties"] = properties
        for of in re.findall(r"(validate\d+)\(data\[i0\]", body):
            schema["items"] = self._schema_of(of)
        for of in re.findall(r"for\(let key0 in data\)(validate\d+)\(data\[key0\]", body):
            schema["additionalProperties"] = self._schema_of(of)
        for of in re.findall(r"(validate\d+)\(data,\{instancePath,", body):
            schema = _merge(schema, self._schema_of(of))
        return schema

    def _keywords_of(self, body: str) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        for keyword, parameters in re.findall(r'keyword:"(\w+)",params:\{(.*?)\}\}', body):
            name, _, value = parameters.partition(":")
            if keyword not in KEYWORDS:
                raise SystemExit(f"{keyword} is not known here.")
            if keyword == "enum":
                [listed] = re.findall(rf"let {re.escape(value)}=(\[.*?\]);", self._text)
                schema["enum"] = json.loads(listed)
            elif keyword == "required":
                schema.setdefault("required", []).append(json.loads(value))
            elif keyword != "format" and name in {"type", "limit", "pattern"}:
                schema[keyword] = json.loads(value)
        if "pattern" in schema:  # Go takes a flag anywhere, Python at the beginning alone
            schema["pattern"] = re.sub(r"^\^(\(\?i\))", r"\1^", schema["pattern"])
        return schema


def _merge(schema: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**schema, **other}
    if "properties" in schema or "properties" in other:
        merged["properties"] = {**schema.get("properties", {}), **other.get("properties", {})}
    if "required" in schema or "required" in other:
        merged["required"] = [*schema.get("required", []), *other.get("required", [])]
    return merged


def main(folder: str) -> None:
    """Write one file for each kind."""
    package = Package(Path(folder) / "_schemas")
    for kind in KINDS:
        schema = json.dumps(package.schema_of(kind), indent=None, separators=(",", ":"), sort_keys=True)
        Path(__file__).with_name(f"{kind.lower()}.json").write_text(schema + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
