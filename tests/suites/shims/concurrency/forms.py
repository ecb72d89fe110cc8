import sys
from importlib.util import module_from_spec, spec_from_file_location

from concurrency import THEIRS
from optilock.forms import VersionedModelForm

_spec = spec_from_file_location("concurrency.forms_of_theirs", THEIRS / "forms.py")
_theirs = module_from_spec(_spec)
sys.modules[_spec.name] = _theirs
_spec.loader.exec_module(_theirs)

SignedValue = _theirs.SignedValue
VersionField = _theirs.VersionField
VersionFieldSigner = _theirs.VersionFieldSigner
VersionWidget = _theirs.VersionWidget


class ConcurrentForm(VersionedModelForm):
    pass
