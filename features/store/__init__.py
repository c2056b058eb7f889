"""The only code that knows Feast: our offline and online stores for it, and its views made from the declarations.

Feast is the contract for data scientists (stock API, stock commands); nothing here is on the request path.
Feast 0.67 sends no usage statistics; the variable below keeps older and forked versions quiet too.
"""

import logging
import os

os.environ.setdefault("FEAST_USAGE", "False")
# `feast apply` looks at sources with pyarrow, which takes as_of=… for a second column of that name. Our store does not.
logging.getLogger("feast.infra.offline_stores.file_source").addFilter(
    lambda record: "Field as_of has incompatible types" not in record.getMessage()
)
