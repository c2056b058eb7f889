"""What may stand in an address where an id is asked for."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class AnyText(Convertor[str]):
    """Any text: ids may have slashes; a line break in one is a fault of the id, not an address that is not there."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", AnyText())
CUSTOMER_ID = "{customer_id:any}"
OFFER_ID = "{offer_id:any}"
