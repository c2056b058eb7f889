"""Journeys to begin with, shipped as YAML beside this file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from service.journeys.parse_definition import parse_journey, read_text

FOLDER = Path(__file__).parent / "templates"


@lru_cache(maxsize=1)
def read_templates() -> tuple[dict[str, Any], ...]:
    """`{"id", "name", "description", "definition", "yaml"}` of each template; `definition` can be PUT as it is."""
    templates = []
    for path in sorted(FOLDER.glob("*.yaml")):
        text = path.read_bytes()
        journey, canonical = parse_journey(read_text(text, "application/yaml"), path.stem)
        templates.append(
            {
                "id": path.stem,
                "name": journey.name,
                "description": journey.description,
                "definition": {name: part for name, part in canonical.items() if name != "id"},
                "yaml": text.decode(),
            }
        )
    return tuple(templates)
