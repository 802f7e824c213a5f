"""The environment of `orgtenancy revision`, for a module that has no `env.py` of its own."""

from alembic import context

from orgtenancy.schemas.revisions.environment import TENANCY_ATTRIBUTE, run_environment
from orgtenancy.schemas.revisions.writing import MODULE_ATTRIBUTE

attributes = context.config.attributes
run_environment(attributes[TENANCY_ATTRIBUTE], module=attributes[MODULE_ATTRIBUTE])
