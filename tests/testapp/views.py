from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import transaction
from django.shortcuts import redirect, render
from django.views.generic import DeleteView, UpdateView

from optilock.forms import VersionedModelForm, get_opened_or_404
from optilock.panel import Author
from optilock.views import VersionedDeleteMixin, VersionedUpdateMixin
from optilock.watching import Watch
from testapp.models import CompositeKey, Memo, Parcel


class MemoUpdate(VersionedUpdateMixin, UpdateView):
    model = Memo
    fields = ["subject", "body"]
    success_url = "/done/"
    can_recreate = True

    def get_conflict_author(self, form):
        return Author("bob")


class WatchedMemo(LoginRequiredMixin, MemoUpdate):
    queryset = Memo.objects.exclude(subject="hidden")
    template_name = "testapp/watched.html"
    presence = True


class PolledMemo(MemoUpdate):
    template_name = "testapp/watched.html"
    poll = 30


class MemoForm(VersionedModelForm):
    class Meta:
        model = Memo
        fields = ["subject", "body"]


@login_required
def edit_memo(request, pk):
    """The same as a function, in the way of the documentation."""
    with transaction.atomic():
        memo = get_opened_or_404(Memo, request.POST, pk=pk)
        form = MemoForm(request.POST or None, instance=memo)
        watch = Watch(request, form, presence=True, name=lambda user: user.username)
        if watch.answer:
            return watch.answer
        if request.method == "POST" and form.is_valid():
            form.save()
            return redirect("/done/")
    return render(request, "testapp/watched.html", {"form": form, "watch": watch})


class OwnTemplate(MemoUpdate):
    conflict_template_name = None


class MemoDelete(VersionedDeleteMixin, DeleteView):
    model = Memo
    success_url = "/done/"


class MemoAutosave(MemoUpdate):
    """Shows the form again that it has saved."""

    def form_valid(self, form):
        form.save()
        return self.render_to_response(self.get_context_data(form=form))


class ParcelUpdate(VersionedUpdateMixin, UpdateView):
    """By a name that may change, and not for everybody: the heavy ones are hidden."""

    queryset = Parcel.objects.filter(weight__lt=100)
    fields = ["code", "weight"]
    slug_field = "code"
    slug_url_kwarg = "code"
    template_name = "testapp/memo_form.html"
    success_url = "/done/"
    can_recreate = True

    def get_conflict_author(self, form):
        return Author("bob")


class ParcelWeight(ParcelUpdate):
    """The form doesn't show the name."""

    fields = ["weight"]


class ParcelDelete(VersionedDeleteMixin, DeleteView):
    queryset = Parcel.objects.filter(weight__lt=100)
    slug_field = "code"
    slug_url_kwarg = "code"
    template_name = "testapp/memo_confirm_delete.html"
    success_url = "/done/"


class CompositeUpdate(VersionedUpdateMixin, UpdateView):
    fields = ["name"]
    slug_field = "number"
    slug_url_kwarg = "number"
    template_name = "testapp/memo_form.html"
    success_url = "/done/"
    can_recreate = True

    def get_queryset(self):
        return CompositeKey.objects.filter(tenant=self.kwargs["tenant"])
