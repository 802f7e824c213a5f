"""Django's settings are global to a process: what differs comes in the environment."""

from __future__ import annotations

import json
import os

_given = json.loads(os.environ["BENCHMARK_DJANGO"])

SECRET_KEY = "benchmark"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django_tenants.postgresql_backend", **_given["database"]}}
DATABASE_ROUTERS = ("django_tenants.routers.TenantSyncRouter",)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
SHARED_APPS = (
    "django_tenants",
    "django.contrib.contenttypes",
    "tests.benchmarks.django_app.customers",
)
TENANT_APPS = ("tests.benchmarks.django_app.social",)
INSTALLED_APPS = (*SHARED_APPS, *TENANT_APPS)
# Made in a folder of the run: the first ones by `makemigrations`, the others by us.
MIGRATION_MODULES = {"customers": "customers_migrations", "social": "social_migrations"}

# Cloning, where it is asked for: a new schema is a copy of this one.
if _given["base_schema"]:
    TENANT_CREATION_FAKES_MIGRATIONS = True
    TENANT_BASE_SCHEMA = _given["base_schema"]
