"""Finds a model in the registries and refuses it unless file, manifest and bundle agree.

A registry is a folder `<registry>/<model id>/<version>/` with `manifest.json` and the file it names. A model that is
refused is not served, and the differences are said by name: a server without it starts and answers from the `rules`
rung. What is compared: the file's SHA-256; name, version, prediction and inputs (names, order, types, defaults) with
the bundle; input and output (name, type, width) with the file itself; and a probe run, one row of it all gaps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.contract import Input, Manifest, Matrix, differences
from models.session import Model, ModelFailed, Session, measure_cost

if TYPE_CHECKING:
    from policy.bundle import Fact, ModelRef

#: The registry that ships with the product; a bundle's own (`<bundle>/registry`) is searched before it.
SHIPPED = Path(__file__).parent / "registry"


class ModelRefused(Exception):
    """The model cannot be served. `differences` holds one sentence each."""

    def __init__(self, model: str, differences: Sequence[str]) -> None:
        self.model = model
        self.differences = list(differences)
        super().__init__(f"model `{model}` is refused: {'; '.join(self.differences)}")


class _InputFile(BaseModel):
    """An input as the manifest writes it; `default` is in the terms of the fact (a word for an enum)."""

    name: str = Field(pattern=r"^(customer|message)\.[a-z0-9_]{1,48}$")
    type: Literal["number", "enum"] = "number"
    codes: dict[str, float] | None = None
    default: float | str | None = None

    def compiled(self) -> Input:
        if self.codes is None:
            return Input(self.name, None, None if self.default is None else float(self.default))
        return Input(self.name, self.codes, None if self.default is None else self.codes[str(self.default)])


class _Tensor(BaseModel):
    name: str
    dtype: Literal["float32"]


class _Output(_Tensor):
    columns: int = Field(ge=1)
    positive_column: int = Field(ge=0)


class _File(BaseModel):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")  # beside the manifest, nowhere else
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ManifestFile(BaseModel):
    """`manifest.json`. What else it holds (training data, metrics, versions) is for people and reports."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: int
    predicts: str
    file: _File
    input: _Tensor
    inputs: list[_InputFile]
    output: _Output

    def compiled(self) -> Manifest:
        return Manifest(
            name=self.name,
            version=self.version,
            predicts=self.predicts,
            inputs=tuple(column.compiled() for column in self.inputs),
            input_name=self.input.name,
            output_name=self.output.name,
            output_columns=self.output.columns,
            positive_column=self.output.positive_column,
            file=self.file.name,
            sha256=self.file.sha256,
        )


def load_model(ref: ModelRef, registries: Sequence[Path], facts: Mapping[str, Fact] | None = None) -> Model:
    """The model that a bundle names, verified, its cost measured; the first registry that has it wins.

    `facts` are the bundle's by name (`Bundle.fact_by_name`): with them the inputs' types are compared too.
    Raises `ModelRefused`.
    """
    name = f"{ref.id}/{ref.version}"
    folder = _find(name, registries)
    manifest = _read_manifest(name, folder)
    found = differences(ref, manifest, facts)
    file = _read_file(name, folder, manifest)
    digest = hashlib.sha256(file).hexdigest()
    if digest != manifest.sha256:
        found.append(f"`{manifest.file}` has the SHA-256 {digest} and the manifest says {manifest.sha256}")
    if found:
        raise ModelRefused(name, found)
    return _open(name, file, manifest)


def _find(name: str, registries: Sequence[Path]) -> Path:
    for registry in registries:
        if (registry / name / "manifest.json").is_file():
            return registry / name
    searched = ", ".join(f"`{registry / name}`" for registry in registries)
    raise ModelRefused(name, [f"there is no `manifest.json` in {searched or 'any registry'}"])


def _read_manifest(name: str, folder: Path) -> Manifest:
    try:
        return ManifestFile.model_validate(json.loads((folder / "manifest.json").read_bytes())).compiled()
    except ValidationError as error:
        places = [
            f"`{'.'.join(map(str, mistake['loc']))}` of the manifest: {mistake['msg']}" for mistake in error.errors()
        ]
        raise ModelRefused(name, places) from error
    except (OSError, ValueError, KeyError) as error:  # unreadable, no JSON, or a default outside the codes
        raise ModelRefused(name, [f"the manifest cannot be used: {error}"]) from error


def _read_file(name: str, folder: Path, manifest: Manifest) -> bytes:
    try:
        return (folder / manifest.file).read_bytes()
    except OSError as error:
        raise ModelRefused(name, [f"`{manifest.file}` cannot be read: {error.strerror}"]) from error


def _open(name: str, file: bytes, manifest: Manifest) -> Model:
    try:
        session = Session(file, manifest)
    except Exception as error:  # the runtime has many kinds, and all mean the same here
        raise ModelRefused(name, [f"`{manifest.file}` is no model that the runtime can open: {error}"]) from error
    found = _signature_differences(session, manifest)
    if found:
        raise ModelRefused(name, found)
    _probe(name, session, manifest)
    return Model(manifest, session, measure_cost(session))


def _signature_differences(session: Session, manifest: Manifest) -> list[str]:
    inputs, outputs = session.onnx.get_inputs(), session.onnx.get_outputs()
    found = []
    if [tensor.name for tensor in inputs] != [manifest.input_name]:
        names = ", ".join(f"`{tensor.name}`" for tensor in inputs)
        found.append(f"the file takes {names} and the manifest says `{manifest.input_name}`")
    else:
        found += _tensor_differences("input", inputs[0], len(manifest.inputs))
    output = next((tensor for tensor in outputs if tensor.name == manifest.output_name), None)
    if output is None:
        names = ", ".join(f"`{tensor.name}`" for tensor in outputs)
        found.append(f"the file gives {names} and the manifest says `{manifest.output_name}`")
    else:
        found += _tensor_differences("output", output, manifest.output_columns)
    if manifest.positive_column >= manifest.output_columns:
        found.append(f"column {manifest.positive_column} is not among the {manifest.output_columns} of the output")
    return found


def _tensor_differences(what: str, tensor: Any, width: int) -> list[str]:
    """`width` is what the manifest says; the number of rows must be free."""
    found = []
    if tensor.type != "tensor(float)":
        found.append(f"the {what} `{tensor.name}` is {tensor.type} in the file and float32 in the manifest")
    shape = [size if isinstance(size, int) else "any" for size in tensor.shape]
    if len(shape) != 2 or shape[1] not in (width, "any"):
        written = ", ".join(map(str, shape))
        found.append(f"the {what} `{tensor.name}` is [{written}] in the file and [any, {width}] in the manifest")
    elif shape[0] != "any":
        found.append(f"the {what} `{tensor.name}` is made for {shape[0]} rows only")
    return found


def _probe(name: str, session: Session, manifest: Manifest) -> None:
    """Run it the way it will be run: defaults, one row of gaps, twice, for one row and three."""
    model = Model(manifest, session, cost=measure_cost(session, rows_max=2))
    for rows in (1, 3):
        matrix = _probe_matrix(manifest, rows)
        try:
            first, second = (model.propensities(session.run(matrix), rows) for _ in range(2))
        except ModelFailed as error:
            raise ModelRefused(name, [f"a probe run {error}"]) from error
        except Exception as error:
            raise ModelRefused(name, [f"a probe run failed: {error}"]) from error
        if first != second:
            raise ModelRefused(name, ["two runs of the same rows gave different scores"])


def _probe_matrix(manifest: Manifest, rows: int) -> Matrix:
    matrix: Matrix = np.zeros((rows, len(manifest.inputs)), np.float32)
    matrix[0] = [0.0 if column.default is None else column.default for column in manifest.inputs]
    matrix[-1] = np.nan
    return matrix
