"""refunds by their order, what each goal of an experiment counts for, and who saw two variants"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_EARLY = "message_id, experiment_id, metric, customer_id, at, amount, came_at"


def upgrade() -> None:
    op.create_table(
        "refunds",
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("cents", sa.BigInteger(), nullable=True),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_index("ix_refunds_customer_id", "refunds", ["customer_id", "order_id"])
    _goals("experiment_goals", ())
    op.execute(
        f"INSERT INTO experiment_goals ({_EARLY}, times, counted) SELECT {_EARLY}, 0, 0 FROM experiment_early_goals"
    )
    op.drop_table("experiment_early_goals")
    op.add_column("experiment_exposures", sa.Column("crossed", sa.Boolean(), nullable=False, server_default=sa.false()))


def _goals(name: str, left_out: tuple[str, ...]) -> None:
    columns = (
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("experiment_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Float(precision=53), nullable=False),
        sa.Column("came_at", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=True),
        sa.Column("cents", sa.BigInteger(), nullable=True),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.Float(precision=53), nullable=False),
    )
    op.create_table(
        name,
        *(column for column in columns if column.name not in left_out),
        sa.PrimaryKeyConstraint("message_id", "experiment_id", "metric"),
    )
    op.create_index(f"ix_{name}_customer_id", name, ["customer_id"])
    op.create_index(f"ix_{name}_came_at", name, ["came_at"])


def downgrade() -> None:
    with op.batch_alter_table("experiment_exposures", schema=None) as batch_op:
        batch_op.drop_column("crossed")
    _goals("experiment_early_goals", ("order_id", "cents", "times", "counted"))
    op.execute(f"INSERT INTO experiment_early_goals ({_EARLY}) SELECT {_EARLY} FROM experiment_goals WHERE times = 0")
    op.drop_table("experiment_goals")
    op.drop_table("refunds")
