"""a customer's enrolments in a journey are found by an index of both: SQLite read all of the journey's"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_NAME, _TABLE = "ix_journey_enrolments_customer", "journey_enrolments"


def upgrade() -> None:
    op.drop_index(_NAME, _TABLE)
    op.create_index(_NAME, _TABLE, ["customer_id", "journey_id"])


def downgrade() -> None:
    op.drop_index(_NAME, _TABLE)
    op.create_index(_NAME, _TABLE, ["customer_id"])
