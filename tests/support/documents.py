"""Documents that are added over the API."""

from io import BytesIO
from zipfile import ZipFile

from tenancy.principal import Role
from tests.support.house import House


async def add(house: House, tenant: str, name: str, text: str, **fields: str) -> str:
    """The id of a document that is added over the API."""
    async with house.client(tenant, "boss", Role.ADMIN) as client:
        files = {"file": (name, text.encode())}
        sent = await client.post("/v1/documents?wait=true", files=files, data=fields)
    assert sent.status_code == 201, sent.text
    return str(sent.json()["document_id"])


async def passages_of(house: House, tenant: str, document_id: str) -> list[str]:
    """The ids of a document's passages, in its order."""
    found, cursor = [], None
    async with house.client(tenant, "boss", Role.ADMIN) as client:
        while True:
            params = {"limit": 200} | ({"cursor": cursor} if cursor else {})
            answer = await client.get(f"/v1/documents/{document_id}/passages", params=params)
            page = answer.json()
            found += [each["passage_id"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def zipped(**files: bytes) -> bytes:
    """A ZIP archive of these files."""
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()
