from django.core.exceptions import SuspiciousOperation, ValidationError

from optilock import RecordModifiedError

__all__ = ["RecordModifiedError", "VersionChangedError", "VersionError"]


class VersionChangedError(ValidationError):
    pass


class VersionError(SuspiciousOperation):
    pass
