"""The database: tables, migrations, transactions and queries, one module per noun.

No business rules, no files and no clock here: callers pass in the time.
"""

from predictd.db.database import Database

__all__ = ["Database"]
