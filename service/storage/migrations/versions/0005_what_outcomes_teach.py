"""what outcomes teach"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lessons",
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", "offer_id", "channel", "stage", name=op.f("pk_lessons")),
    )
    with op.batch_alter_table("lessons", schema=None) as batch_op:
        batch_op.create_index("ix_lessons_taken_due", ["taken", "due_at"], unique=False)
        batch_op.create_index("ix_lessons_customer", ["customer_id"], unique=False)
    op.create_table(
        "online_layers",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
        sa.Column("posterior", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_online_layers")),
    )


def downgrade() -> None:
    op.drop_table("online_layers")
    with op.batch_alter_table("lessons", schema=None) as batch_op:
        batch_op.drop_index("ix_lessons_customer")
        batch_op.drop_index("ix_lessons_taken_due")
    op.drop_table("lessons")
