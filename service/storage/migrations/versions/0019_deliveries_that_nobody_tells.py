"""deliveries that only an answer has proved, and those presumed where nobody tells any"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_COUNTS = ("proven", "presumed")


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column("offer_rates", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("offer_rates", schema=None) as batch_op:
        for name in _COUNTS:
            batch_op.drop_column(name)
