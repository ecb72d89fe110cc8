"""Their settings, with optilock installed."""

from demo.settings import *
from demo.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "optilock"]
