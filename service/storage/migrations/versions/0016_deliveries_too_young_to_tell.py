"""deliveries of offers of which it cannot be told yet whether an order comes"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COUNTS = ("young_hour", "young_day", "young_week")


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column("offer_rates", sa.Column(name, sa.Float(53), nullable=False, server_default="0"))
    op.add_column("offer_rates", sa.Column("young_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("offer_rates", schema=None) as batch_op:
        for name in (*_COUNTS, "young_at"):
            batch_op.drop_column(name)
