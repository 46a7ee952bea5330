"""Who is to be erased, and under which names the stores know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairtag.base.errors import ConfigError
from fairtag.base.pseudonym import user_key
from serving.page.customers import SESSION, USER, Pseudonyms


@dataclass(frozen=True)
class Subjects:
    """The people whose data is erased.

    Args:
        users: Ids of customers.
        sessions: Ids of guests' sessions.
    """

    users: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.users and not self.sessions:
            raise ConfigError("nobody to erase: name a customer with --user, or a guest's session with --session")
        if any(not name.strip() for name in (*self.users, *self.sessions)):
            raise ConfigError("--user or --session: one is empty; write an id")


@dataclass(frozen=True)
class Names:
    """What stands for these people in logs and stores.

    Args:
        users: Ids of the customers, as the shop's own tables have them.
        keys: Their pseudonyms in the quote log, and those of sessions, under every user key.
        locks: Their names in the price locks, and those of sessions, under every user key.
    """

    users: frozenset[str]
    keys: frozenset[str]
    locks: frozenset[str] = field(repr=False)


def names_of(subjects: Subjects, user_keys: Sequence[bytes]) -> Names:
    """The names of people under all user keys, those in use and those that are still accepted."""
    pseudonyms = Pseudonyms(user_keys)
    locks = {name for user in subjects.users for name in pseudonyms.names(USER, user)}
    locks |= {name for session in subjects.sessions for name in pseudonyms.names(SESSION, session)}
    keys = {user_key(user, key) for user in subjects.users for key in user_keys}
    keys |= {name for session in subjects.sessions for name in pseudonyms.guest_keys(session)}
    return Names(subjects.users, frozenset(keys), frozenset(locks))


def read_ids(path: Path) -> frozenset[str]:
    """The ids of a file, one a line.

    Raises:
        ConfigError: It cannot be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); write one customer id a line") from error
    if not (found := frozenset(line.strip() for line in lines if line.strip())):
        raise ConfigError(f"{path}: holds no id; write one customer id a line")
    return found
