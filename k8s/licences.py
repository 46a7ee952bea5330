"""Licences of all that is installed in an image, counted; exit code 1 for one that nobody allowed. Runs inside it."""

import re
import sys
from collections import Counter
from importlib.metadata import Distribution, distributions

ALLOWED = re.compile(
    r"apache|mit\b|mit-cmu|bsd|isc\b|python software|psf|mpl|mozilla|unlicense|public domain|zlib|cc0|hpnd"
    r"|historical permission|lgpl|lesser general",
    re.IGNORECASE,
)
# Packages without readable licence metadata, looked up by hand in the project's licence file.
KNOWN = {"huey": "MIT", "skops": "MIT"}


def licence(distribution: Distribution) -> str:
    """What the distribution says of itself: an SPDX expression, its classifiers, or the first words of its text."""
    metadata = distribution.metadata
    if metadata["License-Expression"]:
        return str(metadata["License-Expression"])
    named = [
        text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")
    ]
    named = [text for text in named if text != "OSI Approved"]
    if named:
        return " AND ".join(sorted(named))
    return " ".join((KNOWN.get(metadata["Name"].lower()) or metadata["License"] or "not said").split())[:60]


def main() -> int:
    """Print the counts; name what is not allowed."""
    found = {f"{each.metadata['Name']} {each.version}": licence(each) for each in distributions()}
    for text, count in Counter(found.values()).most_common():
        print(f"{count:4d}  {text}")
    refused = {
        name: text for name, text in found.items() if not ALLOWED.search(text) and not name.startswith("fairtag ")
    }
    for name, text in sorted(refused.items()):
        print(f"look at {name}: {text}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
