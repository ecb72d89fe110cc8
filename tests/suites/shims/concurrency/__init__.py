"""django-concurrency's names, with optilock behind those that lock.

What isn't in this folder (settings, signing, template tags, the command) is theirs.
"""

import os
from pathlib import Path

THEIRS = Path(os.environ["THEIR_SOURCE"])
__path__.append(str(THEIRS))
VERSION = __version__ = "of the shim"
