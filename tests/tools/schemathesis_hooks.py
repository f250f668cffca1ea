"""What schemathesis does not know by itself: JSON lines, that a log comes in several forms, which project and build to leave alone."""

import itertools
import json
import os
import re

import schemathesis

BUILD = os.environ["PREVIEWD_BUILD"]
BUILD_ID = re.compile("[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}")
ADDRESS = re.compile(r"https?://[a-z0-9.-]+/[A-Za-z0-9/._~-]*")
HOOK = "https://chat.example/hook"
LOG_FORMS = itertools.cycle(["*/*", "text/plain", "application/x-ndjson"])


@schemathesis.deserializer("application/x-ndjson")
def json_lines(context, response):
    return [json.loads(line) for line in response.content.decode().splitlines()]


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.operation.label == "GET /logs/{id}":
        case.headers["Accept"] = next(LOG_FORMS)
    if case.operation.label == "GET /events/{id}":
        # A stream that goes on would be waited for; what is wrong stays wrong.
        case.query = dict(case.query or {})
        asked = str(case.query.get("for_s", 0))
        if asked.isdigit() and int(asked) <= 3600:
            case.query["for_s"] = 0
    if case.operation.label == "PUT /notify/{id}" and isinstance(case.body, dict) and isinstance(case.body.get("urls"), list):
        # An address of the form becomes one with a host that is named.
        case.body["urls"] = [HOOK if isinstance(url, str) and ADDRESS.fullmatch(url) else url for url in case.body["urls"]]
    if case.operation.label == "POST /rollback/{id}" and isinstance(case.body, dict):
        # A well-formed id that was made up becomes one that exists; what is wrong stays wrong.
        if isinstance(case.body.get("build_id"), str) and BUILD_ID.fullmatch(case.body["build_id"]):
            case.body["build_id"] = BUILD
    if case.operation.label == "DELETE /projects/{id}" and not in_a_sequence(case):
        # What the single calls look at stays. Sequences, which come last, delete it as they like.
        if case.path_parameters.get("id") == "demo":
            case.path_parameters["id"] = "other"


def in_a_sequence(case):
    return case.meta is not None and case.meta.phase.name.value == "stateful"
