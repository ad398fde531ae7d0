"""Settings: `modelmora.yaml`, above it `MODELMORA_*` variables, above them the command's flags."""

from modelmora.settings.access import AccessSettings
from modelmora.settings.audit import AuditSettings
from modelmora.settings.faults import place_of
from modelmora.settings.fields import (
    MIB,
    Limits,
    LogSettings,
    MemorySettings,
    Settings,
    SourceSettings,
    Timing,
)
from modelmora.settings.kafka import KafkaSettings, SchemaRegistrySettings, TopicSettings
from modelmora.settings.kinds import YEAR_S, Runtime
from modelmora.settings.loading import (
    DEFAULT_CONFIG,
    checked,
    config_path,
    load_settings,
    settings_in,
    sources_of,
)
from modelmora.settings.models import (
    FOREVER,
    AdapterConfig,
    Licence,
    ModelConfig,
    ModelDetails,
    ModelFile,
    Needs,
    RegistrySettings,
    Replicas,
)
from modelmora.settings.oidc import OidcSettings
from modelmora.settings.purposes import Purposes, Rating
from modelmora.settings.section import Section
from modelmora.settings.shadow import ShadowSettings
from modelmora.settings.sources import (
    CONFIG_VARIABLE,
    NOTIFY_VARIABLE,
    PREFIX,
    Source,
    setting_paths,
    variable_of,
)
from modelmora.settings.tls import TlsSettings

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_CONFIG",
    "FOREVER",
    "MIB",
    "NOTIFY_VARIABLE",
    "PREFIX",
    "YEAR_S",
    "AccessSettings",
    "AdapterConfig",
    "AuditSettings",
    "KafkaSettings",
    "Licence",
    "Limits",
    "LogSettings",
    "MemorySettings",
    "ModelConfig",
    "ModelDetails",
    "ModelFile",
    "Needs",
    "OidcSettings",
    "Purposes",
    "Rating",
    "RegistrySettings",
    "Replicas",
    "Runtime",
    "SchemaRegistrySettings",
    "Section",
    "Settings",
    "ShadowSettings",
    "Source",
    "SourceSettings",
    "Timing",
    "TlsSettings",
    "TopicSettings",
    "checked",
    "config_path",
    "load_settings",
    "place_of",
    "setting_paths",
    "settings_in",
    "sources_of",
    "variable_of",
]
