"""Who changed what, found out before it is saved, and told after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.db import models
from django.http import HttpRequest

from optilock import panel
from optilock.admin.base import VersionedAdminBase
from optilock.admin.page import Page
from optilock.overwriting import UNDO, note_overwritten
from optilock.panel import NOBODY, Author

__all__ = ["TellingMixin", "Witness"]


@dataclass
class _Answer:
    row: models.Model
    since: int | None
    author: Author


class Witness:
    """Who changed the rows of a request: asked before they are saved, told after it.

    Once a row is saved, a history may know of nothing but that.
    """

    def __init__(self) -> None:
        self._answers: list[_Answer] = []

    @classmethod
    def of(cls, request: HttpRequest) -> Witness:
        """Return the request's own witness."""
        witness: Witness = vars(request).setdefault("_optilock_witness", cls())
        return witness

    def author(
        self, page: Page, ask: Callable[[models.Model, int | None], Author]
    ) -> Author:
        """Return who changed what is on a page, as it was when first asked.

        Args:
            page: the page.
            ask: returns who changed a row since a moment, in milliseconds since the
                epoch.
        """
        if page.is_hidden:
            return NOBODY  # nobody tells them of what they may not see
        since = page.loaded
        answers = [self._answer(row, since, ask) for row in page.subjects]
        if all(answer.author == NOBODY for answer in answers):
            for answer in answers:
                # It was asked about before the page of the other rows was known.
                if answer.since != since:
                    answer.since, answer.author = since, ask(answer.row, since)
        authors = (answer.author for answer in answers)
        return next((author for author in authors if author != NOBODY), NOBODY)

    def _answer(
        self,
        row: models.Model,
        since: int | None,
        ask: Callable[[models.Model, int | None], Author],
    ) -> _Answer:
        for answer in self._answers:
            if answer.row is row:
                return answer
        answer = _Answer(row, since, ask(row, since))
        self._answers.append(answer)
        return answer


class TellingMixin(VersionedAdminBase):
    """The part of ``VersionedAdminMixin`` that says who changed what."""

    def _optilock_author(self, request: HttpRequest, page: Page) -> Author:
        """Return who changed what is on the page; to be asked before it is saved."""
        ask = partial(self.get_conflict_author, request)
        author = Witness.of(request).author(page, ask)
        for conflict in page.conflicts:
            conflict.author = author
        return author

    def _optilock_tell(self, request: HttpRequest, page: Page, *, saved: bool) -> None:
        """Say what was merged and, once it is saved, what was overwritten."""
        said = panel.find_news(page.conflicts, page.added, saved=saved)
        if not said:
            return
        who = self._optilock_author(request, page)
        undo = note_overwritten(request, page.conflicts, who) if saved else ""
        if saved and self.optilock_tell_overwritten:
            self._optilock_leave_notices(request, page, who)
        for news in said:
            text = news.about(who, saved=saved)
            if undo and news.can_be_undone:
                url = self._optilock_url(page.form.instance, "change")
                text = panel.offer_undo(text, f"{url}?{UNDO}={undo}")
            self.message_user(request, text, news.level)

    def _optilock_leave_notices(
        self, request: HttpRequest, page: Page, author: Author
    ) -> None:
        """Have the person told whose values were overwritten, if that is known."""
        if author.user is None or author.is_self:
            return
        from optilock.log.notices import leave

        for conflict in page.conflicts:
            if conflict.overwritten and not conflict.deleted:
                leave(
                    conflict.instance,
                    conflict.overwritten,
                    user=author.user,
                    by=request.user,  # type: ignore[arg-type]  # the admin lets nobody else in
                )
