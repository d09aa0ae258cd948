"""Every state and its history: tables, migrations, transactions and queries by noun.

No rules of the product live here, no files and no clock: times are passed in.
"""

from predictd.db.database import Database

__all__ = ["Database"]
