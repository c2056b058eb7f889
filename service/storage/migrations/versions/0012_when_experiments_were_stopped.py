"""when experiments were stopped: their results stand as of then"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("stopped_at", sa.BigInteger(), nullable=True))
    connection = op.get_bind()
    for key, definition in connection.execute(sa.text("SELECT id, definition FROM experiments")).all():
        if json.loads(bytes(definition))["status"] == "stopped":  # the last change is the nearest that is known
            connection.execute(sa.text("UPDATE experiments SET stopped_at = updated_at WHERE id = :id"), {"id": key})


def downgrade() -> None:
    with op.batch_alter_table("experiments", schema=None) as batch_op:
        batch_op.drop_column("stopped_at")
