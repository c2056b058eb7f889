"""goals that come before the event that tells the exposure wait for it"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "experiment_early_goals",
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("experiment_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Float(precision=53), nullable=False),
        sa.Column("came_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "experiment_id", "metric"),
    )
    op.create_index("ix_experiment_early_goals_customer_id", "experiment_early_goals", ["customer_id"])
    op.create_index("ix_experiment_early_goals_came_at", "experiment_early_goals", ["came_at"])


def downgrade() -> None:
    op.drop_table("experiment_early_goals")
