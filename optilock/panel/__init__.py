"""A conflict as a person sees it: who, what, and a decision for each collision.

``Author`` and ``render()`` are for projects; what else is here is for the admin and
the views of this package.
"""

from __future__ import annotations

from optilock.panel.authors import NOBODY as NOBODY
from optilock.panel.authors import Author
from optilock.panel.authors import moment as moment
from optilock.panel.authors import tell_open as tell_open
from optilock.panel.authors import tell_who as tell_who
from optilock.panel.isolating import isolate as isolate
from optilock.panel.isolating import listed as listed
from optilock.panel.pieces import MEDIA as MEDIA
from optilock.panel.pieces import ask_for_files as ask_for_files
from optilock.panel.pieces import asks as asks
from optilock.panel.pieces import find_added as find_added
from optilock.panel.pieces import find_conflicts as find_conflicts
from optilock.panel.pieces import is_too_old as is_too_old
from optilock.panel.questions import OUT_OF_SIGHT as OUT_OF_SIGHT
from optilock.panel.questions import Change as Change
from optilock.panel.questions import Question as Question
from optilock.panel.questions import ask_about_fields as ask_about_fields
from optilock.panel.questions import ask_id as ask_id
from optilock.panel.questions import find_questions as find_questions
from optilock.panel.questions import tell_need as tell_need
from optilock.panel.questions import tell_whose as tell_whose
from optilock.panel.rendering import render
from optilock.panel.telling import find_news as find_news
from optilock.panel.telling import offer_undo as offer_undo
from optilock.panel.telling import tell_put_back as tell_put_back
from optilock.panel.values import as_text as as_text
from optilock.panel.values import label as label
from optilock.panel.values import name_of as name_of
from optilock.panel.values import row_title as row_title
from optilock.panel.values import saved_object as saved_object
from optilock.panel.values import show as show

__all__ = ["Author", "render"]
