"""Which fields django-modeltranslation gives a column for each language."""

from __future__ import annotations

from modeltranslation.translator import TranslationOptions, register

from contracts.models import First


@register(First)
class FirstOptions(TranslationOptions):
    fields = ["name"]
