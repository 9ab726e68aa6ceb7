"""A service of compose.yaml as the words of `docker run`, for those options that it uses."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

COMPOSE = Path(__file__).resolve().parents[2] / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(COMPOSE)["services"]


def filled(text: str, variables: Mapping[str, str] = os.environ) -> str:
    """Fill in `${NAME:-otherwise}`."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), text)


def command_of(service: str) -> list[str]:
    """Give the service's command line of hftune."""
    return [filled(word, {}) for word in SERVICES[service]["command"]]


def hardening_of(service: str) -> list[str]:
    """Give the service's bounds: its user, its root, its rights, its memory for sharing."""
    values = SERVICES[service]
    words = [f"--user={filled(values['user'], {})}", f"--read-only={values['read_only']}".lower()]
    words += [f"--tmpfs={place}" for place in values["tmpfs"]]
    words += [f"--cap-drop={right}" for right in values["cap_drop"]]
    words += [f"--security-opt={option.replace(':true', '')}" for option in values["security_opt"]]
    if "shm_size" in values:
        words.append(f"--shm-size={values['shm_size']}")
    return words


def volumes_of(service: str, volumes: Mapping[str, str]) -> list[str]:
    """Give the service's mounts, its volumes standing for those of other names."""
    mounts = [mount.partition(":") for mount in SERVICES[service]["volumes"]]
    return [f"--volume={volumes[name]}:{rest}" for name, _, rest in mounts]
