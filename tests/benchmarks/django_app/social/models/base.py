"""The ten tables of the community, as near as Django comes.

What differs: a text that is a key gets a second index, for LIKE; foreign keys are
deferrable, and rows of a deleted parent are deleted by Django.
"""

from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Length, Now


def length(name, minimum, maximum):
    """Return a check on the number of characters of a column."""
    return models.CheckConstraint(
        condition=Q(**{f"{name}__length__range": (minimum, maximum)}),
        name=f"ck_%(class)s_{name}_length",
    )


def one_of(name, *values):
    """Return a check that a column holds one of a few words."""
    return models.CheckConstraint(
        condition=Q(**{f"{name}__in": values}), name=f"ck_%(class)s_{name}"
    )


def not_negative(name):
    """Return a check that a counter is 0 or more."""
    return models.CheckConstraint(
        condition=Q(**{f"{name}__gte": 0}), name=f"ck_%(class)s_{name}_not_negative"
    )


def check(name, condition):
    """Return any other check."""
    return models.CheckConstraint(condition=condition, name=f"ck_%(class)s_{name}")


def both(left, right):
    """Return the condition that two others hold together, or neither does."""
    return (left & right) | (~left & ~right)


def search(template, *names):
    """Return the column that a table is searched by."""
    return models.GeneratedField(
        expression=Func(
            *map(F, names),
            template=template,
            arg_joiner=" || ' ' || ",
            output_field=SearchVectorField(),
        ),
        output_field=SearchVectorField(),
        db_persist=True,
        null=True,
    )


def parent(to, **options):
    """Return a foreign key without the index that Django adds."""
    return models.ForeignKey(to, models.CASCADE, db_index=False, related_name="+", **options)


def moment(**options):
    """Return a column with the time at which the server inserts the row."""
    return models.DateTimeField(db_default=Now(), **options)


class Timestamps(models.Model):
    """When a row was made, and last changed."""

    created_at = moment()
    updated_at = moment()

    class Meta:
        abstract = True


models.TextField.register_lookup(Length)
