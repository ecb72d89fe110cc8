from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.core.exceptions import FieldDoesNotExist
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

__all__ = ["EditConflict", "Notice"]


class _Entry(models.Model):
    """Something about a row, which may be gone by now, and its model too."""

    when = models.DateTimeField(_("when"), default=timezone.now, db_index=True)
    model = models.CharField(_("model"), max_length=200)
    object_id = models.CharField(_("object"), max_length=255)

    class Meta:
        abstract = True

    @property
    def model_class(self) -> type[models.Model] | None:
        """The model, ``None`` if the project no longer has it."""
        try:
            return apps.get_model(self.model)
        except (LookupError, ValueError):
            return None

    @property
    def model_name(self) -> str:
        """What people call the model."""
        model = self.model_class
        return str(capfirst(model._meta.verbose_name)) if model else self.model

    def field_label(self, name: str) -> str:
        """Return what people call a field of the model."""
        model = self.model_class
        try:
            field = model._meta.get_field(name) if model else None
        except FieldDoesNotExist:
            field = None
        return str(capfirst(getattr(field, "verbose_name", name)))


class EditConflict(_Entry):
    """Somebody has sent a form about a row that somebody else had changed."""

    class FoundIn(models.TextChoices):
        FORM = "form", _("form")
        FORMSET = "formset", _("rows of a form")
        LIST = "list", _("list")
        ACTION = "action", _("action")
        DELETE = "delete", _("deletion")

    found_in = models.CharField(_("found in"), max_length=10, choices=FoundIn)
    colliding = models.JSONField(_("changed by both"), default=list)
    merged = models.JSONField(_("merged"), default=list)
    values = models.JSONField(
        _("values"), null=True, editable=False, encoder=DjangoJSONEncoder
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("who was slower"),
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("who was faster"),
    )

    class Meta:
        verbose_name = _("edit conflict")
        verbose_name_plural = _("edit conflicts")

    def __str__(self) -> str:
        return f"{self.model_name} #{self.object_id}"


class Notice(_Entry):
    """Somebody has overwritten what somebody else had saved, who is to be told."""

    fields = models.JSONField(default=list)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )

    def __str__(self) -> str:
        return f"{self.model_name} #{self.object_id}"
