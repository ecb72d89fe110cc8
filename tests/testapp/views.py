from __future__ import annotations

from django.views.generic import DeleteView, UpdateView

from optilock.panel import Author
from optilock.views import VersionedDeleteMixin, VersionedUpdateMixin
from testapp.models import Memo


class MemoUpdate(VersionedUpdateMixin, UpdateView):
    model = Memo
    fields = ["subject", "body"]
    success_url = "/done/"
    can_restore = True

    def get_conflict_author(self, form):
        return Author("bob")


class OwnTemplate(MemoUpdate):
    conflict_template_name = None


class MemoDelete(VersionedDeleteMixin, DeleteView):
    model = Memo
    success_url = "/done/"
