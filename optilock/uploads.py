"""Uploaded files, for a view that is run once more."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.core.files.uploadedfile import UploadedFile
    from django.utils.datastructures import MultiValueDict

__all__ = ["rewind_files"]


def rewind_files(uploaded: MultiValueDict[str, UploadedFile[bytes]]) -> None:
    """Let files that a lost run has read, or stored, be stored once more."""
    for _, files in uploaded.lists():
        for file in files:
            file.seek(0)
            path = getattr(file, "temporary_file_path", None)
            if path and not Path(path()).exists():
                # It was moved to where the first run has stored it, and stays there.
                with Path(path()).open("wb") as copy:
                    shutil.copyfileobj(file.file, copy)  # type: ignore[arg-type]  # there is one
                file.seek(0)
