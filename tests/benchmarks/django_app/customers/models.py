"""The registry of django-tenants."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    """A tenant."""

    name = models.TextField()
    attributes = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)


class Domain(DomainMixin):
    """Asked for by django-tenants, and not used here."""
