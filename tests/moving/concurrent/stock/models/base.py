from concurrency.fields import AutoIncVersionField
from django.db import models


class Counted(models.Model):
    version = AutoIncVersionField()

    class Meta:
        abstract = True
