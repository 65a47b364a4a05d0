"""An example plugin: looks an order up in the list its tenant configured."""

import csv
from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.tools import BaseTool, tool
from pydantic import Field

METADATA = {
    "scope": "tools:use",
    "timeout_seconds": 5,
    "settings": {
        "orders_file": "path of a CSV: order_id,customer,item,status,expected_delivery",
        "support_email": "whom to write to when an order is not found",
    },
}
OrderId = Annotated[
    str, Field(pattern=r"^[A-Z]{1,4}-[0-9]{1,10}$", description="The order's number, like A-1001")
]


def tools(tenant: Mapping[str, Any]) -> list[BaseTool]:
    """The tools of one tenant; called once with no tenant at all, for the catalogue."""
    settings = tenant["configuration"].get("order_status", {})

    @tool
    def order_status(order_id: OrderId) -> str:
        """Look up the status and the expected delivery of a customer's order by its number."""
        return _status(order_id, settings)

    order_status.metadata = METADATA
    return [order_status]


def _status(order_id: str, settings: Mapping[str, str]) -> str:
    if not settings.get("orders_file"):
        return "Order look-up is not set up for this organisation." + _contact(settings)
    try:
        order = _find(order_id, settings["orders_file"])
    except (OSError, UnicodeDecodeError, csv.Error):
        return "The list of orders cannot be read at the moment." + _contact(settings)
    if order is None:
        return f"There is no order {order_id}." + _contact(settings)
    return _sentence(order)


def _find(order_id: str, path: str) -> dict[str, str] | None:
    with open(path, newline="", encoding="utf-8-sig") as lines:  # a spreadsheet's export has a BOM
        for row in csv.DictReader(lines, restval=""):
            if row.get("order_id") == order_id:
                return row
    return None


def _sentence(order: Mapping[str, str]) -> str:
    expected = order.get("expected_delivery") or "not known"
    return (
        f"Order {order['order_id']} ({order.get('item')}) for {order.get('customer')}: "
        f"{order.get('status')}. Expected delivery: {expected}."
    )


def _contact(settings: Mapping[str, str]) -> str:
    email = settings.get("support_email")
    return f" Write to {email} for help." if email else ""
