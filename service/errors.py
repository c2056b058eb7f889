"""One base for every expected failure that a caller must hear about (RFC 9457 problem details)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: `field` is its path (`batch[3].userId`), `detail` says what to do."""

    field: str
    detail: str


def path_of(parts: Sequence[str | int]) -> str:
    """The path of a field (`batch[3].userId`) of its names and places; `body` for none."""
    path = ""
    for part in parts:
        if part == "[key]":  # pydantic's, of a name that is wrong, which stands before it
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "body"


def summary(errors: Sequence[FieldError]) -> str:
    """The first of them in a sentence, and how many more there are."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.field}: {first.detail}{more}"


class Problem(Exception):
    """A failure with a stable type, fit to be shown to a client. Never carries a stack trace or a secret."""

    status = 500
    type = "about:blank"
    title = "Internal error"

    def __init__(self, detail: str, errors: Sequence[FieldError] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.extra = extra


class BadRequest(Problem):
    status, type, title = 400, "urn:opportune:bad-request", "The request is not valid"


def bad_body(detail: str) -> BadRequest:
    """Of a body that cannot be read at all; `detail` goes on after "the body"."""
    return BadRequest(f"the body {detail}", [FieldError("body", detail)])


class Unauthorized(Problem):
    status, type, title = 401, "urn:opportune:unauthorized", "A key is needed"


class Forbidden(Problem):
    status, type, title = 403, "urn:opportune:forbidden", "The key has not the scope"


class NotFound(Problem):
    status, type, title = 404, "urn:opportune:not-found", "Not found"


class TooSlow(Problem):
    status, type, title = 408, "urn:opportune:request-timeout", "The request took too long to come"


class Conflict(Problem):
    status, type, title = 409, "urn:opportune:conflict", "In conflict with the current state"


class StillRunning(Conflict):
    """The first request with the same Idempotency-Key has no answer yet; other conflicts stand."""


class Gone(Problem):
    status, type, title = 410, "urn:opportune:gone", "Erased"


class Stale(Problem):
    status, type, title = 412, "urn:opportune:stale", "Somebody else changed it first"


class TooLarge(Problem):
    status, type, title = 413, "urn:opportune:too-large", "The request is too large"


class UnknownEncoding(Problem):
    status, type, title = 415, "urn:opportune:unsupported-encoding", "The encoding is not supported"


class Invalid(Problem):
    """Understood, but a field's value cannot be accepted."""

    status, type, title = 422, "urn:opportune:invalid", "A field is not valid"


class Damaged(Problem):
    """What was stored cannot be read as it was written."""

    status, type, title = 500, "urn:opportune:damaged", "A record is damaged"


class Unavailable(Problem):
    status, type, title = 503, "urn:opportune:unavailable", "A part is not available"


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
_FILES = {errno.EMFILE, errno.ENFILE}


def disk_trouble(failure: BaseException) -> str | None:
    """What is wrong with the home's disk, or with how many files may be open, where the system said so; names no file:
    a path may hold a customer's id.
    """
    code = failure.errno if isinstance(failure, OSError) else None
    if code in _DISK:
        return f"the disk of the home takes nothing now ({os.strerror(code)})"
    return f"no more files can be opened ({os.strerror(code)})" if code in _FILES else None


def cause_of(error: BaseException) -> str:
    """What the driver said of a part that is away, for who runs commands: a wrong password looks like an outage.

    Its first line, in brackets; '' where nobody said anything. Not for clients: it names hosts and users.
    """
    cause = error.__cause__
    words = str(getattr(cause, "orig", None) or cause or "").strip()
    if not words:
        return ""
    return f" ({re.sub(r'[^ ]*@', '…@', words.splitlines()[0])[:200]})"  # before an @ may stand a part of a password
