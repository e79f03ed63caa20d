"""Budgets by endpoint, and whether a run kept them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from loadtests.mix.schedule import Kind

DEFAULT = Path(__file__).parents[1] / "slo.yaml"
Ms = Annotated[float, Field(gt=0)]


class BadSlo(Exception):
    """The file is no table of budgets; the message says what is wrong with it."""


class Budget(BaseModel):
    """What one endpoint promises."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p50_ms: Ms
    p99_ms: Ms
    p999_ms: Ms
    error_rate: Annotated[float, Field(ge=0, le=1)]
    least_rate: Annotated[float, Field(ge=0)]  # good answers a second


class _File(RootModel[dict[Kind, Budget]]):
    pass


class Found(BaseModel):
    """What a run found of an endpoint. Percentiles are None where nothing was answered."""

    requests: int  # that fell due in the measured time
    due_a_second: float
    good_a_second: float
    error_rate: float
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None  # of fewer than a thousand requests, the slowest


class Goal(BaseModel):
    """A line of the verdict. `met` None: this run could not show it."""

    what: str
    wanted: str
    found: str
    met: bool | None


def read(path: Path) -> dict[Kind, Budget]:
    """Raises BadSlo."""
    try:
        return _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).root
    except (OSError, yaml.YAMLError) as error:
        raise BadSlo(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadSlo(f"{path}: {wrong}. Endpoints are {', '.join(Kind)}") from error


def judge(budgets: Mapping[Kind, Budget], found: Mapping[Kind, Found]) -> list[Goal]:
    """A goal for each figure of each budget. An endpoint that nobody drove is not shown; one that was driven and never
    answered well keeps no latency."""
    goals = []
    for kind, budget in budgets.items():
        if kind not in found:
            goals.append(Goal(what=f"{kind}: all", wanted="its budget", found="was not driven", met=None))
            continue
        of = found[kind]
        for name, most, value in (
            ("p50", budget.p50_ms, of.p50_ms),
            ("p99", budget.p99_ms, of.p99_ms),
            ("p99.9", budget.p999_ms, of.p999_ms),
        ):
            words = "no answer" if value is None else f"{value:.1f} ms"
            met = value is not None and value <= most
            goals.append(Goal(what=f"{kind}: {name}", wanted=f"≤ {most:g} ms", found=words, met=met))
        goals.append(
            Goal(
                what=f"{kind}: error rate",
                wanted=f"≤ {budget.error_rate:.2%}",
                found=f"{of.error_rate:.2%} of {of.requests:,}",
                met=of.requests > 0 and of.error_rate <= budget.error_rate,
            )
        )
        goals.append(
            Goal(
                what=f"{kind}: good answers a second",
                wanted=f"≥ {budget.least_rate:g}",
                found=f"{of.good_a_second:.2f}",
                met=of.good_a_second >= budget.least_rate,
            )
        )
    return goals


def kept(goals: list[Goal]) -> bool:
    """Whether nothing that was shown was missed, and something was shown."""
    shown = [goal.met for goal in goals if goal.met is not None]
    return bool(shown) and all(shown)
