"""enrolments that are stuck, or between two tries, are found among all that ever were"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_journey_enrolments_problem",
        "journey_enrolments",
        ["journey_id"],
        sqlite_where=sa.text("problem IS NOT NULL"),
        postgresql_where=sa.text("problem IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_journey_enrolments_problem", "journey_enrolments")
