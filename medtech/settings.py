"""The settings that the app itself reads: name, type and default.

Names are the environment's (app settings in Azure, `Values` in local.settings.json). Not here is what triggers and
connections need (hub, consumer group, schedule, storage, the app's identity): it is read where they are declared, as
Functions wants it. What scaling needs is in host.json, the only file that the platform's scale controller sees. What
each setting means is in `docs/settings.md`; a test compares that page with this file.
"""

from enum import StrEnum
from functools import cache
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from medtech.errors import SettingInvalid


class ResolutionType(StrEnum):
    """How Device, Patient and Encounter are found (`RESOURCE_IDENTITY_RESOLUTION_TYPE`)."""

    LOOKUP = "Lookup"
    CREATE = "Create"
    LOOKUP_WITH_ENCOUNTER = "LookupWithEncounter"


class ObservationLookup(StrEnum):
    """How a stored Observation is found: by its computed id, or by identifier in stores whose server made the ids."""

    ID = "id"
    IDENTIFIER = "identifier"


class SingleValuePeriod(StrEnum):
    """Whether templates without SampledData make one Observation per reading or per period (`SINGLE_VALUE_PERIOD`)."""

    INSTANT = "instant"
    GROUP = "group"


class ObservationEffective(StrEnum):
    """How the Observation of a single reading gives its time (`OBSERVATION_EFFECTIVE`)."""

    PERIOD = "period"
    DATE_TIME = "dateTime"


class Settings(BaseSettings):
    """The settings in force, read once per process."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    device_mapping: str = "mappings/deviceMapping.json"
    fhir_mapping: str = "mappings/fhirDestinationMapping.json"

    fhir_service_url: str = ""
    fhir_audience: str = ""
    fhir_bundle_size: Annotated[int, Field(ge=1, le=500)] = 100
    observation_lookup: ObservationLookup = ObservationLookup.ID
    single_value_period: SingleValuePeriod = SingleValuePeriod.INSTANT
    observation_effective: ObservationEffective = ObservationEffective.PERIOD

    resource_identity_resolution_type: ResolutionType = ResolutionType.LOOKUP
    default_device_identifier_system: str = ""
    identity_cache_seconds: Annotated[int, Field(ge=0)] = 60

    window_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    flush_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 15
    flush_portion_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    buffer_shards: Annotated[int, Field(ge=1, le=1000)] = 4

    dead_letter_days: Annotated[int, Field(ge=0)] = 30
    keep_unmatched: bool = False
    validate_max_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024

    @field_validator("*", mode="before")
    @classmethod
    def _without_regard_to_case(cls, value: Any, info: ValidationInfo) -> Any:
        """The choices of a setting match in any case."""
        choices = cls.model_fields[info.field_name or ""].annotation
        if not isinstance(choices, type) or not issubclass(choices, StrEnum):
            return value
        return next((choice for choice in choices if str(value).lower() == choice.lower()), value)

    @field_validator("fhir_service_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")


@cache
def load() -> Settings:
    """The settings of this process.

    Raises SettingInvalid, which names every unusable setting but no value (it may be a secret).
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        raise SettingInvalid(f"App settings are unusable. {faults}. Fix them and restart the app.") from None
