"""goals of experiments tell until when they are kept: orders for half a year"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_DAY_US = 86_400_000_000


def upgrade() -> None:
    _renamed("came_at", "kept_until")
    kept = f"CASE WHEN order_id IS NULL OR times = 0 THEN {7 * _DAY_US} ELSE {180 * _DAY_US} END"
    op.execute(f"UPDATE experiment_goals SET kept_until = kept_until + {kept}")


def downgrade() -> None:
    op.execute(f"UPDATE experiment_goals SET kept_until = kept_until - {7 * _DAY_US}")
    _renamed("kept_until", "came_at")


def _renamed(former: str, name: str) -> None:
    op.drop_index(f"ix_experiment_goals_{former}", "experiment_goals")
    op.execute(sa.text(f"ALTER TABLE experiment_goals RENAME COLUMN {former} TO {name}"))
    op.create_index(f"ix_experiment_goals_{name}", "experiment_goals", [name])
