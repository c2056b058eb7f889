"""who is in a segment is found without looking through all visitors"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_customers_in_segments",
        "customers",
        ["customer_id"],
        sqlite_where=sa.text("length(segments) > 2"),
        postgresql_where=sa.text("length(segments) > 2"),
    )


def downgrade() -> None:
    op.drop_index("ix_customers_in_segments", "customers")
