from concurrency.forms import ConcurrentForm
from optilock.admin import VersionedAdminMixin, VersionedModelAdmin

ConcurrencyActionMixin = ConcurrencyListEditableMixin = VersionedAdminMixin


class ConcurrentModelAdmin(VersionedModelAdmin):
    form = ConcurrentForm
    list_editable_policy = 1  # for tests that change it
