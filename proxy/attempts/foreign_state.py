"""State in a request that only its maker's account can read, and refusals that name it.

| state                                       | refused elsewhere, in the vendors' own words            |
|---------------------------------------------|---------------------------------------------------------|
| OpenAI's `encrypted_content`                | `invalid_encrypted_content`, "could not be verified"    |
| Anthropic's signed thinking                 | "Invalid `signature` in `thinking` block"               |
| Gemini's `thoughtSignature`                 | "Thought signature is not valid", "Corrupted …"         |
| a response, conversation, item, file, cache | its id, or its kind, is "not found"                     |

A refusal that names none of these, or state that the request does not carry, is not about foreign state.
"""

import asyncio
import re
from contextlib import suppress

from proxy.attempts.attempt import Attempt
from proxy.calls.call import Call
from proxy.calls.routes import Trial
from routing.assign import Assignment
from routing.canary import ArmName
from routing.sessions import SessionArm

READ_WITHIN_S = 2.0
"""How long the provider may take to finish its refusal, which nearly always comes whole with its head."""

_SEALED = re.compile(rb'"(?:encrypted_content|signature|thought_?[sS]ignature)"\s*:\s*"|"redacted_thinking"')
_SEALED_WORDS = (b'"encrypted_content"', b'signature"', b'Signature"', b'"redacted_thinking"')

_MODIFIED = rb"thinking.? blocks.{0,99}?cannot be modified"
_NAMED_BY: tuple[tuple[bytes, bytes], ...] = (
    (rb'"encrypted_content"\s*:\s*"', rb"invalid_encrypted_content|encrypted content.{0,300}?could not be"),
    (rb'"encrypted_(?:content|index)"\s*:\s*"', rb"invalid .?encrypted_(?:content|index).? in "),
    (rb'"signature"\s*:\s*"', rb"invalid .?signature.? in .?thinking|" + _MODIFIED),
    (rb'"redacted_thinking"', rb"invalid .?data.? in .?redacted_thinking|" + _MODIFIED),
    (
        rb'"thought_?signature"\s*:\s*"',
        rb"(?:invalid|corrupted) thought.?signature|thought.?signature.{0,9} (?:not valid|invalid|corrupted)",
    ),
    (rb'"previous_response_id"\s*:\s*"', rb"previous_response_not_found|previous response.{0,99}?not found"),
    (
        rb'"(?:previous_interaction_id|continuation_token)"\s*:\s*"',
        rb"interaction.{0,99}?(?:not (?:found|exist)|permission|invalid)",
    ),
    (rb'"cached_?content"\s*:\s*"', rb"cached.?content.{0,99}?(?:not (?:found|exist)|denied)"),
)
_FORMS = tuple(
    (re.compile(carried, re.IGNORECASE), re.compile(named, re.IGNORECASE | re.DOTALL))
    for carried, named in _NAMED_BY
)
_MAY_CARRY = (
    b'"encrypted_', b'ignature"', b'"redacted_thinking"', b'"id"', b"_reference", b'"file', b"store_ids",
    b"ached",
)  # fmt: skip
_MISSING = re.compile(rb"not[ _]found|not exist|no such|permission", re.IGNORECASE)
_STORED_ID = re.compile(
    rb"\b(?:resp|conv|rs|msg|fc|item|vs|cntr|container|pmpt|file)[_-][\w-]{4,}|\bFile ([\w-]{4,})"
)


def carries_sealed_state(body: bytes) -> bool:
    """True when the body carries state that is sealed for one account. It says not for which one."""
    return any(word in body for word in _SEALED_WORDS) and _SEALED.search(body) is not None


def may_carry_state(call: Call) -> bool:
    """True when the request may carry state. A refusal of one that cannot is relayed as it comes."""
    body = call.body
    return isinstance(body, bytes) and (call.facts.names_state or any(word in body for word in _MAY_CARRY))


def names_state(refusal: bytes, body: bytes) -> bool:
    """True when a refusal's body names state that this request carries, as its provider cannot read it."""
    if any(named.search(refusal) and carried.search(body) for carried, named in _FORMS):
        return True
    if not _MISSING.search(refusal):
        return False
    return any((found[1] or found[0]) in body for found in _STORED_ID.finditer(refusal))


async def refused_for_state(call: Call, assignment: Assignment, attempt: Attempt) -> bool:
    """True when the assigned arm refused this request because of state that the other arm may have made.

    What has been read of the refusal is held for the caller. Arms at one provider entry share their state,
    and a pinned request is only for the arm that it names.
    """
    response, body, trial = attempt.response, call.body, call.trial
    if trial is None or trial.shares_state or assignment.reason in ("pinned", "no_plan"):
        return False
    if response is None or not 400 <= response.status < 500 or response.status == 429:
        return False
    if not may_carry_state(call):
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(READ_WITHIN_S):
            await attempt.refusal()
    return isinstance(body, bytes) and names_state(attempt.reader.seen.error, body)


def only_read_by(arm: ArmName, call: Call, trial: Trial, session: SessionArm | None) -> bool:
    """True when the request carries state, and all answers in its session were this arm's, so that the other
    arm's account cannot read it. Without a session that canary has seen nobody knows."""
    known = session is not None and session.only == arm
    return known and not trial.shares_state and may_carry_state(call)


def is_foreign_to_candidate(call: Call, trial: Trial) -> bool:
    """True when the request carries sealed state and the candidate's account is another one."""
    return not trial.shares_state and isinstance(call.body, bytes) and carries_sealed_state(call.body)
