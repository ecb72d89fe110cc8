"""Values for each kind of field, and what became of them in memory and in the row."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBERS = st.integers(-(2**31), 2**31 - 1)
KINDS = {
    "text": TEXT,
    "long": st.none() | TEXT,
    "number": NUMBERS,
    "big": st.none() | st.integers(-(2**63), 2**63 - 1),
    "ratio": st.floats(-1e9, 1e9),
    "price": st.none() | st.decimals(-9999999, 9999999, places=2),
    "yes": st.booleans(),
    "day": st.none() | st.dates(datetime.date(1900, 1, 1)),
    "moment": st.none()
    | st.datetimes(
        datetime.datetime(1900, 1, 2),
        datetime.datetime(2100, 1, 1),
        timezones=st.just(datetime.timezone.utc),
    ),
    "clock": st.none() | st.times(),
    "span": st.none()
    | st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999)),
    "key": st.uuids(version=4),  # MariaDB refuses what no version makes
    "data": st.none()
    | st.recursive(
        st.booleans() | NUMBERS | TEXT,
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
}


def in_memory(instance):
    return {
        name: value
        for name, value in vars(instance).items()
        if name not in ("_state", "id")
    }


def in_row(instance):
    row = type(instance).objects.filter(pk=instance.pk).values().get()
    return {name: value for name, value in row.items() if name != "id"}
