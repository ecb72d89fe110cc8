from stock.models.items import Box, Item

__all__ = ["Box", "Item"]
