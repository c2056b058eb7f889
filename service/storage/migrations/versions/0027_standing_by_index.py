"""where texts and enrolments stand is read off indexes, not out of their rows"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_STANDING = ["state", "variant_id", "version", "updated_at", "offer_id", "offer_hash"]


def upgrade() -> None:
    op.create_index("ix_content_variants_standing", "content_variants", _STANDING)
    op.drop_index("ix_content_variants_state_created_at", "content_variants")
    op.create_index("ix_journey_enrolments_standing", "journey_enrolments", ["journey_id", "status", "step", "reason"])
    op.drop_index("ix_journey_enrolments_step", "journey_enrolments")
    op.create_index(
        "ix_journey_enrolments_converted",
        "journey_enrolments",
        ["journey_id", "converted_at"],
        sqlite_where=sa.text("converted_at IS NOT NULL"),
        postgresql_where=sa.text("converted_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_journey_enrolments_converted", "journey_enrolments")
    op.create_index("ix_journey_enrolments_step", "journey_enrolments", ["journey_id", "status", "step"])
    op.drop_index("ix_journey_enrolments_standing", "journey_enrolments")
    op.create_index("ix_content_variants_state_created_at", "content_variants", ["state", "created_at"])
    op.drop_index("ix_content_variants_standing", "content_variants")
