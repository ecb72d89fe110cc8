from __future__ import annotations

from testapp.models.admin import *  # noqa: F403
from testapp.models.conflicts import *  # noqa: F403
from testapp.models.corners import *  # noqa: F403
from testapp.models.lock import *  # noqa: F403
from testapp.models.races import *  # noqa: F403
from testapp.models.sets import *  # noqa: F403
from testapp.models.speed import *  # noqa: F403
from testapp.models.users import *  # noqa: F403
