"""A locked user model, as docs/packages.md has it."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, UserManager
from django.db import models

from optilock import (
    IntegerVersionField,
    RecordModifiedError,
    VersionedModel,
    VersionedQuerySet,
)


class MemberManager(UserManager.from_queryset(VersionedQuerySet)):
    pass


class AbstractMember(VersionedModel, AbstractBaseUser):
    username = models.CharField(max_length=20, unique=True)
    email = models.EmailField(blank=True)
    is_staff = models.BooleanField(default=True)
    is_superuser = models.BooleanField(default=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "username"

    objects = MemberManager()

    class Meta:
        abstract = True


class Member(AbstractMember):
    version = IntegerVersionField(exclude=["last_login"])

    def check_password(self, raw_password):
        try:
            return super().check_password(raw_password)
        except RecordModifiedError:
            # Meanwhile somebody has stored the better hash, or another password.
            self.refresh_from_db()
            return self.check_password(raw_password)

    async def acheck_password(self, raw_password):
        try:
            return await super().acheck_password(raw_password)
        except RecordModifiedError:
            await self.arefresh_from_db()
            return await self.acheck_password(raw_password)


class UnpreparedMember(AbstractMember):
    """What the check warns of."""
