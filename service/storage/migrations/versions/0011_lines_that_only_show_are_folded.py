"""lines of a decision that only show, folded into the line of its message

Lines written before stay rows of their own.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger", sa.Column("folded", sa.String(), nullable=True))


def downgrade() -> None:
    """Every folded line is a row again."""
    connection = op.get_bind()
    ledger = sa.Table("ledger", sa.MetaData(), autoload_with=connection)
    fields = (
        "at",
        "expires",
        "channel",
        "offer_id",
        "message",
        "impression",
        "placement",
        "exclusion_group",
        "rank",
        "cost",
    )
    found = connection.execute(sa.select(ledger).where(ledger.c.folded.is_not(None))).mappings().all()
    rows = [
        {**row, **dict(zip(fields, one, strict=True)), "shared": False, "folded": None}
        for row in found
        for one in json.loads(row["folded"])
    ]
    if rows:
        connection.execute(sa.insert(ledger), rows)
    with op.batch_alter_table("ledger", schema=None) as batch_op:
        batch_op.drop_column("folded")
