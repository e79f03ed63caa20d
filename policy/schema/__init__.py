"""The authoring models: what each file of a bundle may hold, with the words and defaults that authors see."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import Field

from policy.schema.facts import AttributesFile, ContextFile, EventsFile, FeaturesFile
from policy.schema.offers import MessagesFile, ModelsFile, PlacementsFile
from policy.schema.outcomes import OutcomesFile
from policy.schema.rules import ConsentFile, DataFile, ExperimentsFile, GlossaryFile, LimitsFile
from policy.schema.types import Authored, Id


class BundleFile(Authored):
    """bundle.yaml: whose bundle this is."""

    name: Id = Field(description="name of the bundle")
    owner: str = Field(description="team that answers for whatever names no owner of its own")
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code of every `value`")
    description: str = Field("", description="what the bundle is for")


class Documents(Authored):
    """All files of a bundle, validated one by one. An absent optional file is the same as an empty one."""

    bundle: BundleFile
    attributes: AttributesFile = AttributesFile()
    context: ContextFile = ContextFile()
    placements: PlacementsFile
    messages: MessagesFile
    models: ModelsFile = ModelsFile()
    features: FeaturesFile = FeaturesFile()
    events: EventsFile = EventsFile()
    limits: LimitsFile = LimitsFile()
    consent: ConsentFile = ConsentFile()
    experiments: ExperimentsFile = ExperimentsFile()
    outcomes: OutcomesFile = OutcomesFile()
    glossary: GlossaryFile = GlossaryFile()
    data: DataFile = DataFile()

    def canonical(self) -> bytes:
        """The bundle as JSON with sorted keys and every default filled in: comments, order of fields and spelling of
        collections make no difference, and a default that changes in a later release changes no old record."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_SORT_KEYS)


#: file name → its model, in the order in which people read a bundle.
FILES: dict[str, type[Authored]] = {
    f"{name}.yaml": field.annotation
    for name, field in Documents.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Authored)
}
REQUIRED = ("bundle.yaml", "placements.yaml", "messages.yaml")


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name → JSON Schema (draft 2020-12), for editors: `# yaml-language-server: $schema=…`."""
    return {file: _published(file, model) for file, model in FILES.items()}


def _published(file: str, model: type[Authored]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation")
    for definition in (schema, *schema.get("$defs", {}).values()):
        for field in definition.get("properties", {}).values():
            _drop_id_in_mappings(field, schema.get("$defs", {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": file, **schema}


def _drop_id_in_mappings(field: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Where a collection is written as a mapping, the key is the id and the fields hold none."""
    for form in field.get("anyOf", []):
        reference = form.get("additionalProperties")
        if isinstance(reference, dict) and "$ref" in reference:
            item = definitions[reference["$ref"].rpartition("/")[2]]
            form["additionalProperties"] = {
                **item,
                "properties": {name: value for name, value in item["properties"].items() if name != "id"},
                "required": [name for name in item.get("required", []) if name != "id"],
            }
            form["propertyNames"] = item["properties"]["id"]
