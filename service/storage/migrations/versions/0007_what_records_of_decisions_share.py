"""what records of decisions share"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decision_parts",
        sa.Column("part_id", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("part_id", name=op.f("pk_decision_parts")),
    )


def downgrade() -> None:
    op.drop_table("decision_parts")
