"""`GET /v1/bundle`: what this server decides by."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.http.decisions import json_response

router = APIRouter(tags=["bundle"])


@router.get("/v1/bundle", summary="What is served", response_model=None)
async def read_bundle(request: Request) -> Response:
    """Digest, placements, messages, models (and why one was refused), and what is authored but not yet in force."""
    services = request.app.state.services
    bundle = services.bundle
    return json_response(
        {
            "bundle": bundle.digest,
            "release": services.release,
            "name": bundle.name,
            "owner": bundle.owner,
            "currency": bundle.currency,
            "placements": [
                {
                    "id": placement.id,
                    "channel": placement.channel,
                    "class": placement.klass,
                    "purpose": placement.purpose,
                    "budget_ms": placement.budget_ms,
                    "model": placement.model.id if placement.model else None,
                    "messages": [candidate.message.id for candidate in placement.candidates],
                    "default": placement.candidates[placement.default].message.id,
                }
                for placement in bundle.placements.values()
            ],
            "messages": [{"id": message.id, "version": message.version} for message in bundle.messages],
            "context": list(bundle.context),
            "limits": [
                {"id": limit.id, "at_most": limit.at_most, "window": limit.window.source} for limit in bundle.limits
            ],
            "models": [{"id": model.id, "version": model.version} for model in bundle.models],
            "models_refused": services.models.refused,
            "not_in_force": list(bundle.not_in_force),
        }
    )
