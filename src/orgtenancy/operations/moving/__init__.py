"""Moving an organization to another placement, while it is at work.

A copy is made on the target while the source goes on. Then the source is fenced in the database,
what changed since is copied, both sides are compared, and one transaction of the control server
says that the organization is on the target from now on. Until then its copy is a schema that
belongs to nobody; behind that the source is one.

What is done is in a journal on the control server, so a move that was killed anywhere is gone on
with, or undone. At no time can anybody write into both: the rights in the source are gone before
there are any in the target.
"""

from orgtenancy.operations.moving.mover import Mover

__all__ = ["Mover"]
