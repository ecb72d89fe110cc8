"""What the mixins bring into classes that are other people's."""

from __future__ import annotations

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import InlineModelAdmin

from optilock.admin import VersionedAdminMixin, VersionedInlineMixin

DOCUMENTED = {"get_conflict_author", "get_presence_name", "is_reverting"}
#: Those of django-reversion and django-simple-history, which are overridden.
OF_OTHERS = {"revision_view", "recover_view", "history_form_view"}


@pytest.mark.parametrize(
    ("mixin", "base"),
    [(VersionedAdminMixin, ModelAdmin), (VersionedInlineMixin, InlineModelAdmin)],
)
def test_names_that_are_not_documented_say_whose_they_are(mixin, base):
    names = {*dir(mixin)} - {*dir(base)} - DOCUMENTED - OF_OTHERS
    ours = ("optilock_", "_optilock_", "__")
    assert not [name for name in names if not name.startswith(ours)]
