"""What type checkers say of code that uses optilock: run by mypy and by pyright.

A line that must be refused carries an ``ignore`` of each checker for the very error
that is expected; both checkers report an ``ignore`` that isn't needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.generic import DeleteView, UpdateView
from typing_extensions import assert_type

from optilock import (
    Conflict,
    IntegerVersionField,
    RecordModifiedError,
    VersionedManager,
    VersionedModel,
    VersionedQuerySet,
    get_version_field,
    retry_on_conflict,
    unlocked,
    versioned_manager,
)
from optilock.admin import (
    VersionedAdminMixin,
    VersionedInlineMixin,
    VersionedModelAdmin,
)
from optilock.forms import (
    FormConflict,
    VersionedFormMixin,
    VersionedModelForm,
    VersionedModelFormSet,
)
from optilock.http import check_preconditions, conditional_view, etag_of
from optilock.panel import Author
from optilock.views import VersionedDeleteMixin, VersionedUpdateMixin

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


class Article(VersionedModel):
    # pyright has no plugin that reads the type off the field.
    title: models.CharField[str, str] = models.CharField(max_length=100)


class Legacy(models.Model):
    number = IntegerVersionField()


class PublishedManager(models.Manager[Article]):
    def published(self) -> models.QuerySet[Article]:
        return self.exclude(title="")


class Signed(Article):
    published = versioned_manager(PublishedManager())
    signer: models.CharField[str, str] = models.CharField(max_length=100)
    merge_decisions = {"signer": lambda change: change.theirs}

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.signer = self.signer.strip()
        super().save(*args, **kwargs)


class DraftQuerySet(VersionedQuerySet["Draft"]):
    def open(self) -> DraftQuerySet:
        return self.filter(title="")


class Draft(VersionedModel):
    title: models.CharField[str, str] = models.CharField(max_length=100)
    drafts: VersionedManager[Draft] = VersionedManager()


def names_are_known() -> None:
    import optilock

    optilock.Conflcit  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


class RecentManager(models.Manager["Legacy"]):
    def recent(self) -> models.QuerySet[Legacy]:
        return self.order_by("-pk")


def another_manager_is_kept() -> None:
    assert_type(versioned_manager(RecentManager()), RecentManager)
    versioned_manager(5)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def the_model_is_kept() -> None:
    assert_type(versioned_manager(PublishedManager()), PublishedManager)
    assert_type(Article.objects, VersionedManager[Article])
    assert_type(Article.objects.all(), VersionedQuerySet[Article])
    assert_type(Article.objects.filter(title="x"), VersionedQuerySet[Article])
    article = Article.objects.get(pk=1)
    assert_type(article, Article)
    assert_type(article.title, str)
    assert_type(article.version, int)
    assert_type(Article.objects.filter(title="x").first(), "Article | None")
    assert_type(Article.objects.update(title="x"), int)
    assert_type(Article.objects.bulk_create([article]), "list[Article]")
    assert_type(Article.objects.bulk_update([article], ["title"]), int)
    assert_type(Draft.drafts.get(), Draft)
    assert_type(Legacy().number, int)
    article.tilte()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def saving(article: Article) -> None:
    article.save()
    article.save(on_conflict="merge", update_fields=["title"])
    article.save(on_conflict="overwrite")
    article.save(update_feilds=["title"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    article.delete(keep_parnets=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    article.save(on_conflict="nonsense")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(article.delete(), "tuple[int, dict[str, int]]")
    article.touch(using="other")
    article.touch(usng="other")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(article.changed_fields(), "list[str]")
    try:
        article.save()
    except RecordModifiedError as error:
        assert_type(error.expected_version, int)
        assert_type(error.current_version, "int | None")
        assert_type(error.conflict, Conflict)
        assert_type(error.target, models.Model)
        assert_type(error.conflict["title"].label, str)
        assert_type(error.conflict.base, "dict[str, Any]")
        assert_type(error.conflict.mine, "dict[str, Any]")
        assert_type(error.conflict.theirs, "dict[str, Any] | None")
        error.conflict.merge({"title": "mine"})
        error.conflict.resolve(lambda change: change.mine)
        error.conflict.resolve({"title": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]


@unlocked(Article)
def _repaired(article: Article, number: int) -> str:
    return f"{article}{number}"


@unlocked(Article)
async def _repaired_later(article: Article) -> str:
    return f"{article}"


async def unlocking(article: Article) -> None:
    with unlocked(Article, Legacy):
        await article.asave(on_conflict="overwrite")
    unlocked(article)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(_repaired(article, 1), str)
    assert_type(await _repaired_later(article), str)
    assert_type(article.is_stale(), bool)
    assert_type(await article.ais_stale(), bool)
    assert_type(get_version_field(Article), "IntegerVersionField | None")


class Overwriting(VersionedModel):
    on_conflict = "overwrite"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


@retry_on_conflict
def rename(pk: int, title: str) -> Article:
    article = Article.objects.get(pk=pk)
    article.title = title
    article.save()
    return article


@retry_on_conflict(attempts=3, atomic=False)
async def rename_later(pk: int, title: str) -> Article:
    article = await Article.objects.aget(pk=pk)
    await article.asave(on_conflict="raise")
    return article


def retrying() -> Coroutine[Any, Any, Article]:
    assert_type(rename(1, "x"), Article)
    rename("1", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    rename(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    retry_on_conflict(atempts=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    return rename_later(1, "x")


class ArticleForm(VersionedFormMixin, forms.ModelForm[Article]):
    ask_always = True
    merge_together = [("title", "version")]

    def __init__(self, *args: Any, user: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def save(self, commit: bool = True) -> Article:
        article: Article = super().save(commit)
        return article


class WrongForm(VersionedModelForm):
    secret_fields = 1  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def in_a_form(form: ArticleForm, formset: VersionedModelFormSet) -> None:
    VersionedModelForm({"title": "x"}, instance=Article())
    VersionedModelForm(instnace=Article())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    assert_type(form.conflict, FormConflict | None)
    assert_type(formset.conflicts, list[FormConflict])
    form.conflict.names()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    for conflict in formset.conflicts:
        assert_type(conflict["title"].label, str)
        assert_type(conflict.decisions, "dict[str, str]")
        assert_type(conflict.compared, Conflict)
        conflict.resolve()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


class ArticleUpdate(VersionedUpdateMixin, UpdateView[Article, ArticleForm]):
    conflict_status = 409

    def get_conflict_author(self, form: ArticleForm) -> Author:
        return Author(name=self.object.title)

    def form_valid(self, form: ArticleForm) -> HttpResponse:
        return super().form_valid(form)


class ArticleDelete(VersionedDeleteMixin, DeleteView[Article]):
    def get_object(self, queryset: models.QuerySet[Article] | None = None) -> Article:
        article: Article = super().get_object(queryset)
        return article

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().post(request, *args, **kwargs)


class WrongUpdate(VersionedUpdateMixin, UpdateView[Article, ArticleForm]):
    conflict_status = "409"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def in_views() -> Callable[..., HttpResponseBase]:
    assert_type(ArticleUpdate.as_view(), Callable[..., HttpResponseBase])
    return ArticleDelete.as_view()


def _epoch(article: Article) -> str:
    return article.title


@conditional_view
def rename_over_http(request: HttpRequest, pk: int) -> HttpResponse:
    article = Article.objects.get(pk=pk)
    check_preconditions(request, article, required=True, epoch=_epoch)
    check_preconditions(request, Draft(), epoch=_epoch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return HttpResponse(headers={"ETag": str(etag_of(article))})


def over_http(request: HttpRequest) -> None:
    assert_type(rename_over_http(request, 1), HttpResponse)
    rename_over_http(request)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class ArticleInline(VersionedInlineMixin, admin.TabularInline[Article, Article]):
    optilock_ask_always = True


class ArticleAdmin(VersionedAdminMixin, admin.ModelAdmin[Article]):
    inlines = [ArticleInline]
    optilock_merge_together = [("title", "version")]
    optilock_merge_decisions = {"title": "lines"}
    optilock_actions = ["publish"]
    optilock_poll = 15
    optilock_presence = True

    def save_model(
        self,
        request: HttpRequest,
        obj: Article,
        form: forms.ModelForm[Article],
        change: bool,
    ) -> None:
        super().save_model(request, obj, form, change)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        super().changelist_view(request, extra_contxt={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        return super().changelist_view(request, extra_context)


class WrongAdmin(VersionedModelAdmin):
    optilock_poll = "15"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
