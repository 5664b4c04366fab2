"""The configuration in .stoneforge/config.yaml: read, checked, watched, described.

Names are imported on first use (PEP 562): the model needs pydantic, which costs as much as all the
rest of a short `sf` command, and `quick_facts` does without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sf_mcp.settings.facts import QuickFacts, quick_facts
    from sf_mcp.settings.initial import render_initial
    from sf_mcp.settings.landing import Check, Merge, ResolveRule, Setup
    from sf_mcp.settings.model import (
        Agents,
        Budget,
        Director,
        HandoffThresholds,
        Limits,
        Notify,
        Orchestrator,
        Settings,
        Steward,
        Worker,
    )
    from sf_mcp.settings.reading import load, parse
    from sf_mcp.settings.reference import Row, rows
    from sf_mcp.settings.watched import SettingsFile

_HOME = {
    "facts": ("QuickFacts", "quick_facts"),
    "initial": ("render_initial",),
    "landing": ("Check", "Merge", "ResolveRule", "Setup"),
    "model": (
        "Agents",
        "Budget",
        "Director",
        "HandoffThresholds",
        "Limits",
        "Notify",
        "Orchestrator",
        "Settings",
        "Steward",
        "Worker",
    ),
    "reading": ("load", "parse"),
    "reference": ("Row", "rows"),
    "watched": ("SettingsFile",),
}

__all__ = [
    "Agents",
    "Budget",
    "Check",
    "Director",
    "HandoffThresholds",
    "Limits",
    "Merge",
    "Notify",
    "Orchestrator",
    "QuickFacts",
    "ResolveRule",
    "Row",
    "Settings",
    "SettingsFile",
    "Setup",
    "Steward",
    "Worker",
    "load",
    "parse",
    "quick_facts",
    "render_initial",
    "rows",
]


def __getattr__(name: str) -> object:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
