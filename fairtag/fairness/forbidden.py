"""Protected attributes, which may never move a price: a request that names one is refused.

A key is recognised in any spelling: ``userGender``, ``USER-GENDER``, ``user.gender``, full-width letters, accents or
Cyrillic look-alikes. So is a name given as a value (``{"name": "gender", "value": "f"}``, a tensor called ``gender``).
Nothing is dropped silently: a caller that sends such data has a leak upstream and should learn of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

from fairtag.base import schema
from fairtag.base.errors import ForbiddenAttribute

# Spellings of each attribute. A phrase matches where its words follow each other in a key.
_SPELLINGS: Final = {
    "race": "race, races, racial, skin colour, skin color, skin tone, caste",
    "ethnicity": "ethnicity, ethnicities, ethnic, ancestry, national origin, tribe, mother tongue",
    "religion": "religion, religions, religious, faith, creed, church, denomination",
    "sex": "sex, gender, genders, pronoun, pronouns, transgender, geschlecht, sexe, sexo, genero",
    "sexual orientation": "sexual orientation, orientation, sexuality, lgbt, lgbtq, lgbtqia",
    "health": "health, diagnosis, diagnoses, medical, medication, pregnant, pregnancy, illness, disease, bmi, genetic, "
    "genetics, biometric, biometrics",
    "disability": "disability, disabilities, disabled, handicap, handicapped, impairment",
    "age": "age, ages, age group, age band, date of birth, birth date, dob, birthday, birth year, year of birth, born, "
    "senior, minor child, generation",
    "nationality": "nationality, nationalities, citizenship, citizen, country of birth, birthplace, immigration, "
    "immigrant, visa status, passport",
    "income": "income, incomes, household income, salary, salaries, wage, wages, wealth, net worth, affluence, "
    "credit score, fico",
    "family status": "marital, marital status, married, divorced, widowed, spouse, children, child count, kids, "
    "number of children, family status, family size, family members, household size, household members, "
    "household composition, persons in household, single parent, hh size, hhsize, famsize",
    "education": "education, educations, educational, education level, level of education, educ, schooling, "
    "school years, years of school, academic degree, university degree, college degree, diploma, bildungsgrad",
    "occupation": "occupation, occupations, occupational, profession, professions, job title, employer, employment, "
    "employed, unemployed, self employed, employment status, work status, occup, beruf, profesion",
    "retirement": "retired, retirement, retiree, pensioner, rentner, jubilado",
    "politics": "politics, political, political party, trade union, union member, union membership",
    "criminal record": "criminal, criminal record, conviction, convictions",
    "veteran status": "veteran, military status",
    "precise location": "latitude, longitude, lat, lon, lng, lat lon, lat lng, gps, geo, geolocation, geohash, "
    "coordinates, precise location, postcode, postal code, zip, zip code, plz, street, street address, home address, "
    "ip address, census tract, neighbourhood, neighborhood",
    "device tier": "device, device tier, device model, device price, device type, phone model, handset, "
    "operating system, os version, user agent, battery, battery level",
    "personal name": "first name, last name, surname, given name, family name, full name",
}
FORBIDDEN: Final = {attribute: tuple(spellings.split(", ")) for attribute, spellings in _SPELLINGS.items()}

# Keys of our own tables, where "age" is the age of a purchase or of a feature, never of a person.
OUR_COLUMNS: Final = frozenset(
    column for table in (*schema.TABLES, schema.QUOTES, schema.OUTCOMES) for column in table.names
)
# Keys whose text value is the name of a field.
NAMING_KEYS: Final = frozenset({"name", "key", "feature", "field", "column", "attribute", "parameter"})
RULE: Final = "a protected attribute may never reach a price; remove it from the request"

# Letters of other scripts that look Latin; NFKD folds accents and full-width forms, but not these.
_LOOKALIKES = str.maketrans("аеорсухіјѕԁɡӏαοετικνρυх", "aeopcyxijsdglaoetiknpux")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[a-z]+")


def words(key: str) -> tuple[str, ...]:
    """Lower-case words of a key, whatever its case, look-alike letters, separators or digits."""
    plain = unicodedata.normalize("NFKD", key.translate(_LOOKALIKES))
    plain = "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))  # accents, zero-width characters
    return tuple(_WORD.findall(_CAMEL.sub(" ", plain).lower().translate(_LOOKALIKES)))


# A path as (parent, step). It is written out only for a hit, so that a deep payload costs no more than a flat one.
_Path: TypeAlias = tuple["_Path | None", str]

_PHRASES: Final = {words(phrase): attribute for attribute, phrases in FORBIDDEN.items() for phrase in phrases}
_SIZES: Final = sorted({len(phrase) for phrase in _PHRASES})
_COMPACT: Final = {"".join(phrase): attribute for phrase, attribute in _PHRASES.items()}
_OWN: Final = frozenset(words(column) for column in OUR_COLUMNS)
_OWNERS: Final = ("user", "customer", "shopper", "buyer", "client", "person", "visitor", "member", "consumer")
_LONGEST_CACHED = 64  # no field of ours is longer, and caching longer keys would let a caller fill the memory


def forbidden_attribute(key: str) -> str | None:
    """The protected attribute that a key names; None if it names none.

    >>> forbidden_attribute("customerDateOfBirth"), forbidden_attribute("page_size")
    ('age', None)
    """
    return _cached(key) if len(key) <= _LONGEST_CACHED else _look_up(key)


def _look_up(key: str) -> str | None:
    spelt = words(key)
    if not spelt or spelt in _OWN:
        return None
    return _in_a_row(spelt) or _run_together("".join(spelt))


_cached = lru_cache(maxsize=4_096)(_look_up)  # a payload repeats its keys a thousand times


def _in_a_row(spelt: tuple[str, ...]) -> str | None:
    for size in _SIZES:
        for at in range(len(spelt) - size + 1):
            attribute = _PHRASES.get(spelt[at : at + size])
            if attribute is not None:
                return attribute
    return None


def _run_together(compact: str) -> str | None:
    """Spellings without a break (``dateofbirth``, ``g_e_n_d_e_r``), also behind an owner (``usergender``)."""
    if compact in _COMPACT:
        return _COMPACT[compact]
    for owner in _OWNERS:
        if compact.startswith(owner) and compact[len(owner) :] in _COMPACT:
            return _COMPACT[compact[len(owner) :]]
    return None


def _named(text: str) -> str | None:
    """The attribute that a field name given as a value names; the whole text must match, so a product title passes."""
    compact = "".join(words(text))
    return None if words(text) in _OWN else _run_together(compact)


def find_forbidden(payload: Any, path: str = "$") -> Iterator[tuple[str, str, str]]:
    """All protected attributes in a JSON value, depth first and without recursion.

    Args:
        payload: Parsed JSON: objects, arrays and scalars, nested to any depth.
        path: Path of ``payload`` itself, with which each answer's path begins; may be empty.

    Yields:
        ``(path, key, attribute)``, such as ``("$.instances[0].user.gender", "gender", "sex")``. Values are not
        included: they are what must not travel.
    """
    pending: list[tuple[_Path, Any]] = [((None, path), payload)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, dict):
            yield from _in_object(where, value)
            pending.extend(((where, f".{key}"), inner) for key, inner in reversed(value.items()))
        elif isinstance(value, list | tuple):
            pending.extend(((where, f"[{index}]"), value[index]) for index in range(len(value) - 1, -1, -1))


def _in_object(where: _Path, value: dict[Any, Any]) -> Iterator[tuple[str, str, str]]:
    for key, inner in value.items():
        attribute = forbidden_attribute(str(key))
        if attribute is not None:
            yield _text((where, f".{key}")), str(key), attribute
        elif isinstance(inner, str) and str(key).lower() in NAMING_KEYS and (attribute := _named(inner)) is not None:
            yield _text((where, f".{key}")), inner, attribute


def _text(path: _Path) -> str:
    steps = []
    at: _Path | None = path
    while at is not None:
        at, step = at
        steps.append(step)
    return "".join(reversed(steps)).removeprefix(".")


def refuse_forbidden(payload: Any, path: str = "$") -> None:
    """Refuse a payload that carries a protected attribute anywhere.

    Raises:
        ForbiddenAttribute: With the path of the first; its ``value`` is the key, never what was sent under it.
    """
    for where, key, attribute in find_forbidden(payload, path):
        raise ForbiddenAttribute(where, key, f"it names {attribute}; {RULE}")


def refuse_forbidden_features(names: Iterable[str]) -> None:
    """Refuse model features that name a protected attribute.

    Raises:
        ForbiddenAttribute: For the first such name.
    """
    for name in names:
        attribute = forbidden_attribute(name)
        if attribute is not None:
            raise ForbiddenAttribute(f"features.{name}", name, f"it names {attribute}; {RULE}")
