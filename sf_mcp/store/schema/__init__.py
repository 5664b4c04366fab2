"""The schema: one module a release, with the sentence that each constraint enforces."""

from sf_mcp.store.schema.recovery import RECOVERY
from sf_mcp.store.schema.seat import SEAT
from sf_mcp.store.schema.tables import TABLES
from sf_mcp.store.schema.train import TRAIN

SCHEMA_VERSION = 4

__all__ = ["RECOVERY", "SCHEMA_VERSION", "SEAT", "TABLES", "TRAIN"]
