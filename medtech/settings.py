"""The settings that the app itself reads: name, type and default.

Names are the environment's (app settings in Azure, `Values` in local.settings.json). Not here is what triggers and
connections need (hub, consumer group, schedule, storage, the app's identity): it is read where they are declared, as
Functions wants it. What scaling needs is in host.json, the only file that the platform's scale controller sees. What
each setting means is in `docs/settings.md`; a test compares that page with this file.
"""

from enum import StrEnum
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from medtech.address import in_the_clear
from medtech.errors import SettingInvalid


class ResolutionType(StrEnum):
    """How Device, Patient and Encounter are found (`RESOURCE_IDENTITY_RESOLUTION_TYPE`)."""

    LOOKUP = "Lookup"
    CREATE = "Create"
    LOOKUP_WITH_ENCOUNTER = "LookupWithEncounter"


class FhirAuthentication(StrEnum):
    """By what the FHIR server knows the app (`FHIR_AUTHENTICATION`)."""

    ENTRA = "entra"
    NONE = "none"
    BASIC = "basic"
    CLIENT_CREDENTIALS = "client_credentials"


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


_AUTHENTICATION_OF = {
    "fhir_audience": FhirAuthentication.ENTRA,
    "fhir_username": FhirAuthentication.BASIC,
    "fhir_password": FhirAuthentication.BASIC,
    "fhir_token_url": FhirAuthentication.CLIENT_CREDENTIALS,
    "fhir_client_id": FhirAuthentication.CLIENT_CREDENTIALS,
    "fhir_client_secret": FhirAuthentication.CLIENT_CREDENTIALS,
    "fhir_client_key": FhirAuthentication.CLIENT_CREDENTIALS,
    "fhir_scope": FhirAuthentication.CLIENT_CREDENTIALS,
}
"""The settings that belong to one way of authentication. Set with another they would do nothing, and are refused:
`FHIR_AUTHENTICATION` was forgotten, or they were."""

_NEEDED = ("fhir_username", "fhir_password", "fhir_token_url", "fhir_client_id")
"""Those of them without which their way of authentication cannot be."""


class Settings(BaseSettings):
    """The settings in force, read once per process."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    device_mapping: str = "mappings/deviceMapping.json"
    fhir_mapping: str = "mappings/fhirDestinationMapping.json"

    fhir_service_url: str = ""
    # Before those that go with it: their validators look at it.
    fhir_authentication: Annotated[
        FhirAuthentication,
        Field(
            description="By what the FHIR server knows the app: `entra`, a token of the app's identity; `none`; "
            "`basic`, a user name and password; `client_credentials`, a token of an OAuth 2 token endpoint. See "
            "[FHIR servers](fhir-servers.md)."
        ),
    ] = FhirAuthentication.ENTRA
    fhir_audience: Annotated[
        str,
        Field(description="With `entra`: the audience of the access token. No token is sent over plain http."),
    ] = ""
    fhir_allow_plain_http: Annotated[
        bool,
        Field(
            description="Whether `FHIR_SERVICE_URL` may be plain http to another machine, so that readings travel "
            "unencrypted; only with `FHIR_AUTHENTICATION` `none`. The log says so once."
        ),
    ] = False
    fhir_username: Annotated[str, Field(description="With `basic`: the user's name, without a colon.")] = ""
    fhir_password: Annotated[
        SecretStr, Field(description="With `basic`: the user's password, as a Key Vault reference.")
    ] = SecretStr("")
    fhir_token_url: Annotated[
        str,
        Field(description="With `client_credentials`: the address of the token endpoint; https, or this machine."),
    ] = ""
    fhir_client_id: Annotated[
        str, Field(description="With `client_credentials`: the id by which the token endpoint knows the app.")
    ] = ""
    fhir_client_secret: Annotated[
        SecretStr,
        Field(
            description="With `client_credentials`: the client's secret, as a Key Vault reference. Either this or "
            "`FHIR_CLIENT_KEY`."
        ),
    ] = SecretStr("")
    fhir_client_key: Annotated[
        SecretStr,
        Field(
            description="With `client_credentials`: the client's private key, PEM or JWK, as a Key Vault reference: "
            "RSA (RS384) or EC on P-384 (ES384), as SMART Backend Services wants it. Its line breaks may be spaces "
            "or `\\n`."
        ),
    ] = SecretStr("")
    fhir_scope: Annotated[
        str,
        Field(
            description="With `client_credentials`: the scopes to ask for, separated by spaces, such as "
            "`system/Observation.crus`. SMART Backend Services needs it."
        ),
    ] = ""
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

    @field_validator(*_AUTHENTICATION_OF)
    @classmethod
    def _goes_with_authentication(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        """What is needed is there, and nothing that would do nothing."""
        name, chosen = str(info.field_name), info.data.get("fhir_authentication")
        belongs_to = _AUTHENTICATION_OF[name]
        if chosen is None:  # it is not valid itself, which is told
            return value
        if value and chosen is not belongs_to:
            raise _fault(f"Belongs to FHIR_AUTHENTICATION={belongs_to}, but that is {chosen}: remove this, or set that")
        if not value and chosen is belongs_to and name in _NEEDED:
            raise _fault(f"Is missing, and FHIR_AUTHENTICATION={chosen} needs it")
        return value

    @field_validator("fhir_password", "fhir_client_secret", "fhir_client_key")
    @classmethod
    def _resolved(cls, value: SecretStr) -> SecretStr:
        """The platform leaves a reference that it cannot resolve as it is."""
        if value.get_secret_value().startswith("@Microsoft.KeyVault("):
            raise _fault(
                "Is a Key Vault reference that the platform could not resolve: give the app's identity the role Key "
                "Vault Secrets User, and check the secret's address. The portal shows why, under Environment variables"
            )
        return value

    @field_validator("fhir_username", "fhir_password")
    @classmethod
    def _fits_basic(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        """RFC 7617, 2: a colon ends the user's name, and there are no control characters."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise _fault("Holds a control character, such as a line break at its end. Set it without")
        if info.field_name == "fhir_username" and ":" in text:
            raise _fault("Holds a colon, which a user name of Basic authentication cannot")
        return value

    @field_validator("fhir_client_id", "fhir_client_secret", "fhir_scope")
    @classmethod
    def _fits_oauth(cls, value: str | SecretStr) -> str | SecretStr:
        """RFC 6749, appendix A: printable ASCII."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not (text.isascii() and text.isprintable()):
            raise _fault("Holds a character that is not printable ASCII, such as a line break at its end")
        return value

    @field_validator("fhir_token_url")
    @classmethod
    def _keeps_secrets(cls, value: str) -> str:
        """A secret, and the token that is answered, never cross a network unencrypted."""
        value = value.strip()
        if not value:
            return value
        try:
            address = urlsplit(value)
            scheme, host, _ = address.scheme, address.hostname or "", address.port
        except ValueError:  # brackets that do not match, a port that is none
            scheme, host, address = "", "", urlsplit("")
        if scheme not in ("http", "https") or not host or address.fragment or "@" in address.netloc:
            raise _fault("Is not an address. Set it to the token endpoint, https://…")
        if in_the_clear(scheme, host):
            raise _fault("Is plain http to another machine, so the secret or token would travel unencrypted. Use https")
        return value

    @field_validator("fhir_client_key")
    @classmethod
    def _is_the_only_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value and info.data.get("fhir_client_secret"):
            raise _fault("Is set, and so is FHIR_CLIENT_SECRET. Keep the one that the token endpoint knows")
        wanted = info.data.get("fhir_authentication") is FhirAuthentication.CLIENT_CREDENTIALS
        if not value and wanted and info.data.get("fhir_client_secret") == SecretStr(""):
            raise _fault(
                "Is missing, and so is FHIR_CLIENT_SECRET. FHIR_AUTHENTICATION=client_credentials needs one of them"
            )
        return value

    @field_validator("fhir_client_key")
    @classmethod
    def _signs(cls, value: SecretStr) -> SecretStr:
        if value:
            from medtech.client_key import ClientKey, UnusableKey

            try:
                ClientKey.read(value.get_secret_value())
            except UnusableKey as error:
                raise _fault(str(error).rstrip(".")) from None
        return value


def _fault(text: str) -> PydanticCustomError:
    """What is wrong with a setting, and how to put it right; never its value."""
    return PydanticCustomError("setting", "{text}", {"text": text})


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
