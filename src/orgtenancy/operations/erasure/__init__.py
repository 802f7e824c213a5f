"""Erasing one person from an organization, in tables, registry, and what is said of both.

```
manager               Erasures: what a host holds
columns  registry     where an id can stand: the modules' tables, and the control tables
sought                who is looked for, in no statement and no log
searching  replacing  what is done to each column
erasing               all of it, in one transaction
```
"""

from orgtenancy.operations.erasure.erasing import Erasure
from orgtenancy.operations.erasure.manager import Erasures
from orgtenancy.operations.erasure.searching import Occurrence

__all__ = ["Erasure", "Erasures", "Occurrence"]
