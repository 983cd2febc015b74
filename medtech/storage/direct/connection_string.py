"""Where a storage connection string says that tables or blobs are, and how requests there are signed.

"Configure Azure Storage connection strings"; names are understood in any case, as by azure-core.
"""

from typing import Literal
from urllib.parse import urlsplit

from medtech.storage.direct.authorization import Authorization, BlobKey, SharedAccessSignature, TableKey

Service = Literal["table", "blob"]

_DEVELOPMENT = {
    # Azurite's account is public: "Use the Azurite emulator for local Azure Storage development".
    "accountname": "devstoreaccount1",
    "accountkey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "blobendpoint": "http://127.0.0.1:10000/devstoreaccount1",
    "tableendpoint": "http://127.0.0.1:10002/devstoreaccount1",
}


def signed_endpoint(text: str, service: Service) -> tuple[str, Authorization]:
    """The address, without a query, and the authorization. Raises ValueError if it does not say both."""
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        parts = _DEVELOPMENT
    account, key = parts.get("accountname"), parts.get("accountkey")
    signature = parts.get("sharedaccesssignature")
    if account and key:
        authorization: Authorization = (TableKey if service == "table" else BlobKey)(account, key)
    elif signature:
        authorization = SharedAccessSignature(signature)
    else:
        raise ValueError("neither a key nor a signature")
    return _endpoint(parts, service), authorization


def _endpoint(parts: dict[str, str], service: Service) -> str:
    endpoint = parts.get(f"{service}endpoint", "").partition("?")[0]
    if not endpoint:
        if not parts.get("accountname"):
            raise ValueError("no account")
        suffix = parts.get("endpointsuffix")
        # As in the Azure packages: the protocol counts only where the suffix is given too.
        protocol = (suffix and parts.get("defaultendpointsprotocol")) or "https"
        suffix = suffix or "core.windows.net"
        endpoint = f"{protocol}://{parts['accountname']}.{service}.{suffix}"
    if not endpoint.lower().startswith(("http://", "https://")):
        endpoint = f"https://{endpoint}"
    if not urlsplit(endpoint).hostname:
        raise ValueError("an endpoint without a host")
    return endpoint
