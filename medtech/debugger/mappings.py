"""`GET /api/mappings`: the texts of the mappings in force, for the debugger page.

Answer: `{deviceMapping, fhirMapping}`, each the text in force as it was deployed, or null if none was ever good.
"""

import json
from typing import Any

import azure.functions as func

from medtech.mapping.in_force import MappingStore


def answer(device_store: MappingStore[Any], fhir_store: MappingStore[Any]) -> func.HttpResponse:
    """200 with both texts. Raises Unavailable."""
    texts = {"deviceMapping": device_store.stored_text(), "fhirMapping": fhir_store.stored_text()}
    return func.HttpResponse(json.dumps(texts), status_code=200, mimetype="application/json")
