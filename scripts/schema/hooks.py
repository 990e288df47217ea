"""Words that no schema can list, and what nobody may do to the tester. Everything else is said by the API document itself."""

import base64
import json
import pathlib
import re
import uuid
import zoneinfo

import schemathesis
from hypothesis import strategies as st

NAMES = sorted(name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith(("posix/", "right/")))
schemathesis.openapi.format("iana-time-zone", st.sampled_from(NAMES))

OWNERS = set(json.loads(pathlib.Path("owners.json").read_text()))


def session(headers):
    """The session that the token belongs to."""
    try:
        claims = str(headers["Authorization"]).split(".")[1]
        return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sid"]
    except (KeyError, IndexError, ValueError, TypeError):
        return None


POSITION = re.compile("[0-9a-f]+-[0-9a-f]+")


@schemathesis.hook
def map_query(context, query):
    """A read waits for the position that it is told, and for one that nobody has written for ever: 503 after two seconds."""
    if query and POSITION.fullmatch(str(query.get("min_position", ""))):
        query["min_position"] = "0-0"
    return query


@schemathesis.hook
def before_call(context, case, kwargs):
    """What guests do is done without a token. The tester stays an owner, and signed in."""
    if not case.operation.definition.raw.get("security"):
        case.headers.pop("Authorization", None)
    named = (case.path_parameters or {}).get("id")
    if named in OWNERS or (named and named == session(case.headers)):
        case.path_parameters["id"] = f"{named.split('_')[0]}_{uuid.uuid4().hex}"
