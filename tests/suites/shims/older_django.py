"""A plugin of pytest: what tests from before Django 4 look for."""

import django.conf.urls
from django.urls import re_path

django.conf.urls.url = re_path
