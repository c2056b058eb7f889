"""lines found by offer: of those offers only that have limits which customers share"""

from collections.abc import Mapping
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "counted_offers",
        sa.Column("offer_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("offer_id", name=op.f("pk_counted_offers")),
    )
    op.add_column("ledger", sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False))
    connection = op.get_bind()
    offers = connection.execute(sa.text("SELECT offer_id, document FROM offers")).all()
    limited = [{"offer": name} for name, document in offers if _limited(orjson.loads(bytes(document)))]
    if limited:  # by the index that goes
        connection.execute(sa.text("INSERT INTO counted_offers (offer_id) VALUES (:offer)"), limited)
        connection.execute(sa.text("UPDATE ledger SET shared = true WHERE offer_id = :offer"), limited)
    op.execute("UPDATE ledger SET shared = true WHERE decision_id LIKE 'event:%' AND offer_id <> ''")
    op.drop_index("ix_ledger_offer_at", "ledger")
    shared = sa.text("shared")
    op.create_index("ix_ledger_shared", "ledger", ["offer_id", "at"], sqlite_where=shared, postgresql_where=shared)


def _limited(document: Mapping[str, Any]) -> bool:
    """Whether customers share a limit of the offer: a cap over everyone, or a budget that its cost uses up."""
    caps = any("everyone" in {cap["per"], cap.get("of")} for cap in document["caps"])
    return caps or (document["budget"] is not None and document["cost"] > 0)


def downgrade() -> None:
    op.drop_index("ix_ledger_shared", "ledger")
    op.create_index("ix_ledger_offer_at", "ledger", ["offer_id", "at"])
    with op.batch_alter_table("ledger", schema=None) as batch_op:
        batch_op.drop_column("shared")
    op.drop_table("counted_offers")
