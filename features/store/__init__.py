"""The only code that knows Feast: our offline and online stores for it, and its views made from the declarations.

Feast is the contract for data scientists (stock API, stock commands); nothing here is on the request path.
Feast 0.67 sends no usage statistics; the variable below keeps older and forked versions quiet too.
"""

import os

os.environ.setdefault("FEAST_USAGE", "False")
