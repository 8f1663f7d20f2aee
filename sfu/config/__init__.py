"""All settings: names, aliases, defaults, and what is wrong with what was given (``signaling.md`` 8).

Settings come from the command line, then the environment, then the defaults. :func:`load` reads them all, and
reports every problem at once, in words that say what to do.

Every setting is a field of :class:`Settings` (or :class:`RommSettings`) made by
:func:`sfu.config.source.setting`, or a limit out of :mod:`sfu.config.limits`; help texts, ``trio-sfu config``
and ``docs/configuration.md`` are made from those.
"""

from sfu.config.cpus import available_cpus
from sfu.config.load import ConfigError, Loaded, Problem, load, load_romm
from sfu.config.romm import RommSettings
from sfu.config.settings import Settings
from sfu.config.source import shown

__all__ = [
    "Settings", "RommSettings",
    "load", "load_romm", "Loaded", "ConfigError", "Problem",
    "available_cpus", "shown",
]  # fmt: skip
