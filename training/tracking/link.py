# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whether this process logs to a wandb server, offline, or not at all; asked without a prompt."""

import os
import threading
import urllib.error
import urllib.request

from parsers.training_config import TrainingConfig
from training.errors import ExperimentError
from training.terminal.console import log

ONLINE, OFFLINE = "online", "offline"
PROBE_SECONDS = 4.0
# wandb reads its settings from the environment; what a user sets there comes first.
DEFAULTS = {
    "WANDB_SILENT": "true",  # we say in one line of our own what matters
    "WANDB_INIT_TIMEOUT": "20",
    "WANDB_FINISH_TIMEOUT": "30",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
}
LATER = "`wandb sync` sends it later"


class Link:
    """What is known about wandb in this process; found out once, when it is first needed."""

    def __init__(self):
        self.known = False
        self.found: str | None = None

    def mode(self, options: TrainingConfig) -> str | None:
        """``"online"``, ``"offline"``, or None for no tracking, under the training options.

        Raises ExperimentError if ``--tracking wandb`` cannot be.
        """
        if asked_mode() == "disabled":
            return None
        if not self.known:
            self.found, self.known = find_mode(options.tracking), True
        return self.found

    def require(self, flag: str, options: TrainingConfig) -> None:
        """ExperimentError, with what is missing, unless ``flag`` finds the server it needs."""
        set_defaults()
        if wants_server(options.tracking):
            missing = importable() or server_problem()
        else:
            missing = "--tracking or WANDB_MODE turns it off"
        if missing is not None:
            raise ExperimentError(f"{flag} needs a wandb server and a login: {missing}")
        self.known, self.found = True, ONLINE

    def lose(self, why: str) -> None:
        """Go on offline in this process."""
        self.known, self.found = True, OFFLINE
        log.warning("%s: logging offline from here on, %s", why, LATER)


link = Link()


def asked_mode() -> str:
    """The mode that the environment asks for; "" if none."""
    return os.environ.get("WANDB_MODE", "").lower()


def in_sweep() -> bool:
    """Whether an agent has started the run at hand."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def project_name(dataset_name: str) -> str:
    """The wandb project of a data set, unless WANDB_PROJECT names one."""
    return os.environ.get("WANDB_PROJECT") or f"SiLIF_{dataset_name.upper()}_runs"


def wants_server(tracking: str) -> bool:
    """Whether ``--tracking`` and the environment let this process look for a server."""
    if asked_mode() == "disabled":
        return False
    return tracking == "wandb" or (tracking == "auto" and asked_mode() not in ("offline", "dryrun"))


def set_defaults() -> None:
    """Settings of wandb that the environment may override."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def find_mode(tracking: str) -> str | None:
    """Decide between online and offline, and say it in one line where it is not online."""
    set_defaults()
    missing = importable()
    if missing is None and wants_server(tracking):
        missing = server_problem()
        if missing is None:
            return ONLINE
    elif missing is not None:
        refuse_if_required(tracking, missing)
        log.info("%s: running without it (pip install -r requirements.txt)", missing)
        return None
    refuse_if_required(tracking, missing)
    # An offline run sends nothing, its own crash reports included.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    log.info("wandb: %slogging offline, %s", f"{missing}; " if missing else "", LATER)
    return OFFLINE


def refuse_if_required(tracking: str, missing: str | None) -> None:
    """ExperimentError where the user insists on a server."""
    if tracking == "wandb" and missing is not None:
        raise ExperimentError(f"--tracking wandb: {missing}; --tracking auto goes on without it")


def importable() -> str | None:
    """None if the wandb package can be used, else what is wrong."""
    try:
        import wandb
    except Exception as error:  # a broken installation raises anything
        return f"wandb cannot be imported ({type(error).__name__}: {error})"
    # A folder of the name wandb in the working directory imports as an empty package.
    return None if hasattr(wandb, "init") else "wandb is not installed"


def server_problem() -> str | None:
    """None if there is a login and the server answers, else what is missing. Asks nobody."""
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    base = server_settings().base_url
    try:
        login = wbauth.authenticate_session(
            host=base, source="main.py", prompt=False, update_session=False
        )
    except AuthenticationError as error:
        return f"the login cannot be used ({error})"
    if login is None:
        return "no login (`wandb login` makes one)"
    return None if answers(base) else f"{base} cannot be reached"


def server_settings():
    """wandb's settings, which know the server's address."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings  # wandb.setup() would start a process, and may hang


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a web server answers at ``url``, whatever it says, within ``seconds``."""
    answered = threading.Event()

    def ask():
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError) as error:
            # A certificate that only wandb's own settings accept is an answer, too.
            if "CERTIFICATE" in str(error).upper():
                answered.set()
        finally:
            done.set()

    done = threading.Event()
    # In a thread, because looking up a name has no time limit.
    threading.Thread(target=ask, daemon=True).start()
    done.wait(seconds)
    return answered.is_set()
