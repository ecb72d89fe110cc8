from django.db import models


class Order(models.Model):
    rev = models.IntegerField(null=True)
    number = models.CharField(max_length=20, default="")


class Line(models.Model):
    lock = models.PositiveIntegerField(default=0, db_column="lock_no")
    quantity = models.IntegerField(default=0)


class Sheet(models.Model):
    etag = models.BigIntegerField(default=0)
    text = models.CharField(max_length=20, default="")


class Letter(models.Model):
    modified = models.DateTimeField(auto_now=True)
    text = models.CharField(max_length=20, default="")
