"""The settings that the app itself reads: name, type, bounds, default and what each means.

Names are the environment's (app settings in Azure, `Values` in local.settings.json). What triggers and connections need
(hub, consumer group, schedule, storage, the app's identity) is in `setup/platform.py`: it is read where they are
declared, as Functions wants it. What scaling needs is in host.json, the only file that the platform's scale controller
sees. The table in `docs/settings.md` is made of both; a test says when it is stale.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from math import ceil
from typing import Annotated, Any, NamedTuple, get_args
from urllib.parse import urlsplit

from medtech.address import fault_in_base, in_the_clear
from medtech.declared_settings import (
    DeclaredSettings,
    Fault,
    Field,
    FieldInfo,
    SecretStr,
    SettingsInvalid,
    ValidationInfo,
    field_validator,
)
from medtech.errors import SettingInvalid


class ResolutionType(StrEnum):
    """How Device, Patient and Encounter are found (`RESOURCE_IDENTITY_RESOLUTION_TYPE`)."""

    LOOKUP = "Lookup"
    CREATE = "Create"
    LOOKUP_WITH_ENCOUNTER = "LookupWithEncounter"


class FhirAuthentication(StrEnum):
    """How the app signs in to the FHIR server (`FHIR_AUTHENTICATION`)."""

    ENTRA = "entra"
    NONE = "none"
    BASIC = "basic"
    CLIENT_CREDENTIALS = "client_credentials"


class FhirWrite(StrEnum):
    """Whether Observations are written, or what would be written is compared with what is stored (`FHIR_WRITE`)."""

    WRITE = "write"
    COMPARE = "compare"


class StorageClient(StrEnum):
    """How storage is asked for tables and leases (`STORAGE_CLIENT`)."""

    DIRECT = "direct"
    LIBRARY = "library"


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


class SettingFault(NamedTuple):
    """One thing that is wrong with an app setting. `message` is whole sentences; it never holds the value, which may be
    a secret."""

    name: str
    message: str


def _words(*, allowed: str = "", unset: str = "") -> dict[str, Any]:
    """What people are told of a field whose type and default do not say it: which texts it takes, and what holds
    without it."""
    return {name: text for name, text in (("allowed", allowed), ("unset", unset)) if text}


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


class Settings(DeclaredSettings):
    """The settings in force, read once per process."""

    device_mapping: Annotated[
        str,
        Field(
            description="The device mapping: a file in the app, or the URL of a blob (role *Storage Blob Data Reader* "
            "on its container if that is in another account).",
            json_schema_extra=_words(allowed="a path in the app, or a blob's URL"),
        ),
    ] = "mappings/deviceMapping.json"
    fhir_mapping: Annotated[
        str,
        Field(
            description="The FHIR destination mapping: as `DEVICE_MAPPING`.",
            json_schema_extra=_words(allowed="a path in the app, or a blob's URL"),
        ),
    ] = "mappings/fhirDestinationMapping.json"

    fhir_service_url: Annotated[
        str,
        Field(
            description="Base URL of the FHIR R4 server, with or without a slash at its end. It takes the place of the "
            "MedTech service's `fhirServiceResourceId`.",
            json_schema_extra=_words(
                allowed="the address of a FHIR R4 server, https://… without a query", unset="required"
            ),
        ),
    ] = ""
    # Before those that go with it: their validators look at it.
    fhir_authentication: Annotated[
        FhirAuthentication,
        Field(
            description="How the app signs in to the FHIR server: `entra`, a token of the app's identity; `none`; "
            "`basic`, a user name and password; `client_credentials`, a token of an OAuth 2 token endpoint. See "
            "[FHIR servers](fhir-servers.md)."
        ),
    ] = FhirAuthentication.ENTRA
    fhir_audience: Annotated[
        str,
        Field(
            description="With `entra`: the audience of the access token. No token is sent over plain http.",
            json_schema_extra=_words(unset="origin of the URL"),
        ),
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
    fhir_bundle_size: Annotated[int, Field(ge=1, le=500, description="Entries in one batch bundle.")] = 100
    observation_lookup: Annotated[
        ObservationLookup,
        Field(
            description="How a stored Observation is found: by its computed `id`, or by `identifier` in stores whose "
            "server made the ids."
        ),
    ] = ObservationLookup.ID
    single_value_period: Annotated[
        SingleValuePeriod,
        Field(
            description="What `periodInterval` 60 and 1440 mean to a FHIR template without SampledData. `instant`: "
            "nothing; each reading becomes an Observation of its own, as the MedTech service documents. `group`: one "
            "Observation a period, as in the open-source connector, with the latest reading of the period."
        ),
    ] = SingleValuePeriod.INSTANT
    observation_effective: Annotated[
        ObservationEffective,
        Field(
            description="How an Observation of a single reading gives its time. `period`: as an `effectivePeriod` that "
            "starts and ends then, as the MedTech service writes. `dateTime`: as `effectiveDateTime`, which the R4 "
            "vital-signs profiles check and US Core asks for. Stored Observations keep the form they have."
        ),
    ] = ObservationEffective.PERIOD

    fhir_write: Annotated[
        FhirWrite,
        Field(
            description="`write`: the app writes to the FHIR server. `compare`: it writes nothing there, and holds "
            "what it would have stored against what another service stores; see [Comparing](operate.md#comparing)."
        ),
    ] = FhirWrite.WRITE
    compare_grace_minutes: Annotated[
        float,
        Field(
            ge=0,
            le=1440,
            description="With `FHIR_WRITE` `compare`: how long after the end of a window what is absent or different "
            "is compared again, since the other service may be later.",
        ),
    ] = 20

    resource_identity_resolution_type: Annotated[
        ResolutionType,
        Field(
            description="`Lookup`: the Device and its Patient must exist. `Create`: they are created where they do "
            "not. `LookupWithEncounter`: as Lookup, and a message must name an Encounter that exists."
        ),
    ] = ResolutionType.LOOKUP
    default_device_identifier_system: Annotated[
        str, Field(description="The system of the identifier by which a Device is found.")
    ] = ""
    identity_cache_seconds: Annotated[
        int,
        Field(
            ge=0,
            description="How long a link between a Device and its Patient is relied on before the Device is read "
            "again; 0: every flush reads it.",
        ),
    ] = 60

    window_seconds: Annotated[
        int, Field(ge=1, le=86_400, description="Length of a grouping window, in the time of arrival at the hub.")
    ] = 300
    flush_grace_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How long a window waits for stragglers after its end.")
    ] = 15
    flush_portion_mb: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="How much memory (MiB) a flush may take, all shards together; it stays within 1.2 times as "
            "much and 40 MiB. A larger window is split by device, held compressed, and worked off in portions. With "
            "`FLUSH_FANOUT=queue` it is for each shard that is flushed at once.",
        ),
    ] = 64
    buffer_shards: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Parts into which the buffer is split by device; each is flushed by itself.",
        ),
    ] = 4

    storage_client: Annotated[
        StorageClient,
        Field(
            description="How the app asks storage for tables and leases. `direct`: by requests of its own, in a third "
            "of the CPU time or less (`python -m bench.storage`). `library`: through azure-data-tables and "
            "azure-storage-blob. Both do the same."
        ),
    ] = StorageClient.DIRECT

    dead_letter_days: Annotated[int, Field(ge=0, description="How long a dead letter is kept; 0: for ever.")] = 30
    keep_unmatched: Annotated[
        bool,
        Field(
            description="Whether a message that no template matches is kept as a dead letter. It is counted either way."
        ),
    ] = False
    validate_max_bytes: Annotated[
        int,
        Field(
            ge=1024,
            description="The largest request that `/api/validate` takes, in bytes. It may also nest at most 515 levels "
            "and hold at most 10,000 messages.",
        ),
    ] = 4 * 1024 * 1024

    @property
    def compares(self) -> bool:
        """Whether nothing is written to the FHIR server."""
        return self.fhir_write is FhirWrite.COMPARE

    @property
    def hold_seconds(self) -> int:
        """How long after its end a window stays in the buffer at most, when nothing holds up the flush."""
        if not self.compares:
            return self.flush_grace_seconds
        return max(self.flush_grace_seconds, ceil(self.compare_grace_minutes * 60)) + self.compare_interval_seconds

    @property
    def compare_interval_seconds(self) -> int:
        """How long what was absent or different is left alone before it is read again: a fifth of the grace."""
        return int(self.compare_grace_minutes * 60 / 5)

    @field_validator(*_AUTHENTICATION_OF, mode="before")
    @classmethod
    def _blank_is_none(cls, value: Any) -> Any:
        """So people take a setting back where they cannot remove it."""
        return "" if isinstance(value, str) and not value.strip() else value

    @field_validator("fhir_audience")
    @classmethod
    def _without_blanks(cls, value: str) -> str:
        return value.strip()

    @field_validator("fhir_service_url")
    @classmethod
    def _base_address(cls, value: str) -> str:
        """Without the slash at its end. Raises ValueError; empty is left to who needs a server."""
        address = value.strip().rstrip("/")
        if address.startswith("/subscriptions/"):
            raise ValueError("is a resource id, as the MedTech service's fhirServiceResourceId, and not an address")
        if address and (fault := fault_in_base(address)):
            raise ValueError(fault)
        return address

    @field_validator(*_AUTHENTICATION_OF)
    @classmethod
    def _goes_with_authentication(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        """What is needed is there, and nothing that would do nothing."""
        name, chosen = str(info.field_name), info.data.get("fhir_authentication")
        belongs_to = _AUTHENTICATION_OF[name]
        if chosen is None:  # it is not valid itself, which is told
            return value
        if value and chosen is not belongs_to:
            raise ValueError(
                f"belongs to FHIR_AUTHENTICATION={belongs_to}, but that is {chosen}: remove this, or set that"
            )
        if not value and chosen is belongs_to and name in _NEEDED:
            raise ValueError(f"is missing, and FHIR_AUTHENTICATION={chosen} needs it")
        return value

    @field_validator("fhir_username", "fhir_password")
    @classmethod
    def _fits_basic(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        """RFC 7617, 2: a colon ends the user's name, and there are no control characters."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise ValueError("holds a control character, such as a line break at its end. Set it without")
        if info.field_name == "fhir_username" and ":" in text:
            raise ValueError("holds a colon, which a user name of Basic authentication cannot")
        return value

    @field_validator("fhir_client_id", "fhir_client_secret", "fhir_scope")
    @classmethod
    def _fits_oauth(cls, value: str | SecretStr) -> str | SecretStr:
        """RFC 6749, appendix A: printable ASCII."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not (text.isascii() and text.isprintable()):
            raise ValueError("holds a character that is not printable ASCII, such as a line break at its end")
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
            raise ValueError("is not an address. Set it to the token endpoint, https://…")
        if in_the_clear(scheme, host):
            raise ValueError(
                "is plain http to another machine, so the secret or token would travel unencrypted. Use https"
            )
        return value

    @field_validator("fhir_allow_plain_http")
    @classmethod
    def _keeps_readings(cls, value: bool, info: ValidationInfo) -> bool:
        """Readings cross a network unencrypted only where that is wanted, a password or token never."""
        address = urlsplit(info.data.get("fhir_service_url") or "")
        if not in_the_clear(address.scheme, address.hostname or ""):
            return value
        if not value:
            raise ValueError(
                "is not true, and FHIR_SERVICE_URL is plain http to another machine, so readings would travel "
                "unencrypted. Use https"
            )
        if info.data.get("fhir_authentication") not in (None, FhirAuthentication.NONE):
            raise ValueError(
                "does not cover passwords and tokens, and FHIR_SERVICE_URL is plain http to another machine. Use "
                "https, or set FHIR_AUTHENTICATION to none"
            )
        return value

    @field_validator("fhir_client_key")
    @classmethod
    def _is_the_only_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value and info.data.get("fhir_client_secret"):
            raise ValueError("is set, and so is FHIR_CLIENT_SECRET. Keep the one that the token endpoint knows")
        wanted = info.data.get("fhir_authentication") is FhirAuthentication.CLIENT_CREDENTIALS
        if not value and wanted and info.data.get("fhir_client_secret") == SecretStr(""):
            raise ValueError(
                "is missing, and so is FHIR_CLIENT_SECRET. FHIR_AUTHENTICATION=client_credentials needs one of them"
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
                raise ValueError(f"cannot be used. {str(error).rstrip('.')}") from None
        return value


def faults_in(environment: Mapping[str, str]) -> list[SettingFault]:
    """What is wrong with the settings of the app itself in this environment, in the order of the fields."""
    given = {name.lower(): value for name, value in environment.items()}
    try:
        Settings.of({name: given[name] for name in Settings.model_fields if name in given})
    except SettingsInvalid as invalid:
        return list(map(_told, invalid.faults))
    return []


@cache
def load() -> Settings:
    """The settings of this process.

    Raises SettingInvalid, which names every unusable setting but no value (it may be a secret).
    """
    try:
        return Settings()
    except SettingsInvalid as invalid:
        raise unusable(list(map(_told, invalid.faults))) from None


def unusable(faults: Sequence[SettingFault]) -> SettingInvalid:
    """The error of an app that cannot run under its settings."""
    one = len(faults) == 1
    count = "An app setting is" if one else f"{len(faults)} app settings are"
    sentences = " ".join(fault.message for fault in faults)
    return SettingInvalid(f"{count} unusable. {sentences} Fix {'it' if one else 'them'}, then restart the app.")


def allowed(field: FieldInfo) -> str:
    """What a setting takes, in words; empty if any text will do."""
    if field.json_schema_extra and "allowed" in field.json_schema_extra:
        return str(field.json_schema_extra["allowed"])
    kind = _kind(field)
    if issubclass(kind, StrEnum):
        *others, last = kind
        return f"{', '.join(others)} or {last}" if others else str(last)
    if issubclass(kind, bool):
        return "true or false"
    if not issubclass(kind, int | float):
        return ""
    number = "a whole number" if issubclass(kind, int) else "a number"
    least, most = (next((getattr(each, name) for each in field.metadata), None) for name in ("ge", "le"))
    if least is not None and most is not None:
        return f"{number} from {least} to {most}"
    if least is not None:
        return f"{number}, {least} or more"
    return number if most is None else f"{number}, {most} or less"


def is_secret(field: FieldInfo) -> bool:
    return issubclass(_kind(field), SecretStr)


def _kind(field: FieldInfo) -> type:
    """The type of a field's value; of an optional one, what it is if it is set."""
    kinds = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
    return next((each for each in kinds if each is not type(None)), str)


def _told(fault: Fault) -> SettingFault:
    takes = allowed(Settings.model_fields[fault.name])
    name = fault.name.upper()
    return SettingFault(name, f"{name} {fault.text}." + (f" Allowed: {takes}." if takes else ""))
