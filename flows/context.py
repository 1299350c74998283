"""The same two functions as `pipeline.context`, where the commands of this layer look for them."""

from pipeline.context import database_of, settings_of

__all__ = ["database_of", "settings_of"]
