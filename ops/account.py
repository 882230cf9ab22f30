"""Who runs this process: the account as the system knows it, whatever the environment says."""

import os
import pwd


def name() -> str:
    """The account's name; ``uid N`` where it has none, as in many containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
