from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]  # noqa: RUF012 -- as Django has it

    operations = [  # noqa: RUF012
        migrations.CreateModel(
            name="OpenPage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("model", models.CharField(max_length=201)),
                ("key", models.CharField(max_length=200)),
                ("since", models.BigIntegerField()),
                ("until", models.BigIntegerField(db_index=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "key", "user", "since"),
                        name="optilock_presence_page",
                    )
                ]
            },
        )
    ]
