"""how soon orders come after a delivery: of how many it is known, and how many come within a minute"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_COUNTS = ("delays", "prompt")


def upgrade() -> None:
    op.add_column("offer_rates", sa.Column("young_minute", sa.Float(53), nullable=False, server_default="0"))
    for name in _COUNTS:
        op.add_column("offer_rates", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("offer_rates", schema=None) as batch_op:
        for name in (*_COUNTS, "young_minute"):
            batch_op.drop_column(name)
