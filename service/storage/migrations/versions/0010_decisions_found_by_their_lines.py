"""decisions found by their lines of the ledger: an index of customers for those only that have none

Decisions made before stay in that index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("in_ledger", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.drop_index("ix_decisions_customer_decided", "decisions")
    apart = sa.text("NOT in_ledger")
    op.create_index(
        "ix_decisions_not_in_ledger", "decisions", ["customer_id"], sqlite_where=apart, postgresql_where=apart
    )


def downgrade() -> None:
    op.drop_index("ix_decisions_not_in_ledger", "decisions")
    op.create_index("ix_decisions_customer_decided", "decisions", ["customer_id", "decided_at"])
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.drop_column("in_ledger")
