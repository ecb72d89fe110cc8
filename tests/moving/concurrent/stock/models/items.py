from django.db import models

from .base import Counted


class Item(Counted):
    name = models.CharField(max_length=20, default="")


class Box(Item):
    size = models.IntegerField(default=0)
