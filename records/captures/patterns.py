"""Tells, without running it, whether a regular expression can take more than linear time on some text.

`re` tries every way to match. That takes more than linear time where a piece of text, repeated, can be read
in more ways the longer it gets: in one loop of the pattern, or in the next one, or before the match begins
(Weber and Seidl, On the degree of ambiguity of finite automata, 1991), and where the match may still fail
after it. A repetition with a bound counts by its bound.

What is not understood (references to groups, lookbehind over several signs) is taken for fitting, so a
pattern may be called slow that is not. Texts are tried with one sign of each kind that the pattern knows.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from math import inf
from typing import Any, Literal, NamedTuple

_parser: Any = re._parser  # type: ignore[attr-defined]
_sre: Any = re._constants  # type: ignore[attr-defined]

_READ = (_sre.LITERAL, _sre.NOT_LITERAL, _sre.ANY, _sre.IN, _sre.CATEGORY, _sre.RANGE)
_FEWEST = 2
"""Repetitions that may be left out, from which on a repetition is read as a loop."""
_MOST_BEFORE, _MOST_TOGETHER, _MOST_WITHIN = 1000, 4096, 8
"""Readings of a sign in one match: by a loop behind a start that may be anywhere; by two loops of which each
has a bound; by a loop that can read it in two ways, which multiply."""

_OTHERS = "aZ0_-. \n\té中!\x00"
"""What a text may have beside the signs that a pattern names."""

MOST_PLACES = 2000


class IntricatePattern(ValueError):
    """This pattern would take too long to look at."""


class SlowText(NamedTuple):
    """A text on which a pattern is slow: `before`, `pump` many times, and a last sign that does not fit,
    twice since `$` takes a line's end at the text's."""

    before: str
    pump: str
    after: str

    def of(self, size: int) -> str:
        """A text of about this many signs."""
        return self.before + self.pump * max(1, size // len(self.pump)) + 2 * self.after


Use = Literal["search", "match", "fullmatch"]
"""How a pattern is used. `search` stands for all that begin anywhere."""

Condition = tuple[str, frozenset[str]]
"""What must hold of the signs before and after a place: `before` or `after` is one of these, or the word edge
or its opposite. The empty sign is the text's begin and end."""


@dataclass(slots=True)
class _Automaton:
    """Places, steps that read a sign, and steps that read none but may have a condition. `held`: ranges
    of places inside of what is never given back. `most`: how often a place may be passed in one match, as far
    as repetitions around it say; `within`: the same of the place that is built."""

    steps: list[list[tuple[frozenset[str], int]]] = field(default_factory=list)
    jumps: list[list[tuple[int, Condition | None]]] = field(default_factory=list)
    held: list[range] = field(default_factory=list)
    most: list[float] = field(default_factory=list)
    within: float = 1.0

    def place(self) -> int:
        if len(self.steps) >= MOST_PLACES:
            raise IntricatePattern(f"it has over {MOST_PLACES} places to be at")
        self.steps.append([])
        self.jumps.append([])
        self.most.append(self.within)
        return len(self.steps) - 1


def slow_text(pattern: re.Pattern[Any], use: Use = "search") -> SlowText | None:
    """A text on which this pattern takes more than linear time; None where there is none. Raises
    IntricatePattern."""
    analysis = _Analysis(pattern, use)
    for q in analysis.loops:
        for p in (analysis.outside, *analysis.loops):
            if (found := analysis.between(p, q)) is not None:
                return found
    return None


class _Analysis:
    """One pattern's automaton, and what can be reached in it. `outside` is the place before the match."""

    def __init__(self, pattern: re.Pattern[Any], use: Use) -> None:
        self.flags = int(pattern.flags)
        tree = _parser.parse(pattern.pattern, self.flags & ~re.DEBUG)
        self.signs = _classes(tree, self.flags)
        self.all = frozenset(self.signs)
        self.net = _Automaton()
        self.outside = self.net.place()
        start = self._jump(self.outside, None if use == "search" else ("before", frozenset({""})))
        if use == "search":
            self.net.steps[self.outside].append((self.all, self.outside))
        end = self._built(tree, start)
        self.end = self._jump(end, ("after", frozenset({""}))) if use == "fullmatch" else end
        self.context = self._contexts()
        self.contexts = list(dict.fromkeys(self.context.values()))
        self.after = cache(self._after)
        self.closure = cache(self._closure)
        self.next = [self._next(place) for place in range(len(self.net.steps))]
        self.reach = [self._reach(place) for place in range(len(self.net.steps))]
        self.loops = [each for each in range(1, len(self.net.steps)) if each in self.reach[each]]

    # From the pattern to the automaton

    def _built(self, tree: Any, start: int) -> int:
        for operation, value in tree:
            start = self._one(operation, value, start)
        return start

    def _one(self, operation: Any, value: Any, start: int) -> int:
        if operation in _READ:
            return self._read(_members(operation, value, self.signs, self.flags), start)
        if operation is _sre.BRANCH:
            return self._joined(self._built(each, start) for each in value[1])
        if operation is _sre.SUBPATTERN:
            outside, self.flags = self.flags, (self.flags | value[1]) & ~value[2]
            end = self._built(value[3], start)
            self.flags = outside
            return end
        if operation is _sre.ATOMIC_GROUP:
            return self._kept(value, start)
        if operation in (_sre.MAX_REPEAT, _sre.MIN_REPEAT):
            return self._repeated(value[0], value[1], value[2], start)
        if operation is _sre.POSSESSIVE_REPEAT:
            return self._kept([(_sre.MAX_REPEAT, value)], start)
        if operation in (_sre.ASSERT, _sre.ASSERT_NOT):
            return self._looked(value[0], value[1], start, negated=operation is _sre.ASSERT_NOT)
        if operation is _sre.AT:
            return self._jump(start, self._at(value))
        if operation is _sre.GROUPREF_EXISTS:
            return self._joined([self._built(each or [], start) for each in value[1:]])
        return self._joined([self._jump(start, None), self._read(self.all, start)])  # a reference to a group

    def _read(self, members: frozenset[str], start: int) -> int:
        end = self.net.place()
        self.net.steps[start].append((members, end))
        return end

    def _jump(self, start: int, condition: Condition | None, end: int | None = None) -> int:
        end = self.net.place() if end is None else end
        self.net.jumps[start].append((end, condition))
        return end

    def _joined(self, ends: Iterable[int]) -> int:
        places, joint = list(ends), self.net.place()
        for each in places:
            self._jump(each, None, joint)
        return joint

    def _kept(self, tree: Any, start: int) -> int:
        first = len(self.net.steps)
        end = self._built(tree, start)
        self.net.held.append(range(first, len(self.net.steps)))
        return end

    def _repeated(self, least: int, most: Any, tree: Any, start: int) -> int:
        """Read a tree twice where the number of times is fixed, else as a loop behind the first time."""
        loops = most - least >= _FEWEST
        around, ends = self.net.within, [start] if least == 0 else []
        self.net.within = inf if most is _sre.MAXREPEAT else around * max(1, most)
        for time in range(min(most, 1 if loops else 2)):
            start = self._built(tree, start)
            if time + 1 >= min(least, 2) or loops:
                ends.append(start)
        if loops:
            loop = self._jump(start, None)
            self._jump(self._built(tree, loop), None, loop)
            ends.append(loop)
        self.net.within = around
        return self._joined(ends)

    def _looked(self, direction: int, tree: Any, start: int, *, negated: bool) -> int:
        where = "after" if direction > 0 else "before"
        if len(tree) == 1 and tree[0][0] in _READ:
            operation, value = tree[0]
            members = _members(operation, value, self.signs, self.flags)
            return self._jump(start, (where, self.all - members | {""} if negated else members))
        if direction > 0:
            self._built(tree, start)  # what it reads takes its time, whatever follows
        return self._jump(start, None)

    def _at(self, where: Any) -> Condition | None:
        multiline = bool(self.flags & re.MULTILINE)
        if where in (_sre.AT_BEGINNING, _sre.AT_BEGINNING_STRING):
            lines = multiline and where is _sre.AT_BEGINNING
            return "before", frozenset({"", "\n"} if lines else {""})
        if where in (_sre.AT_END, _sre.AT_END_STRING):
            return "after", frozenset({"", "\n"} if multiline and where is _sre.AT_END else {""})
        if where is _sre.AT_BOUNDARY:
            return "edge", self._word
        return ("inside", self._word) if where is _sre.AT_NON_BOUNDARY else None

    @property
    def _word(self) -> frozenset[str]:
        return _members(_sre.CATEGORY, _sre.CATEGORY_WORD, self.signs, self.flags)

    # What can be reached

    def _closure(self, place: int, before: str, after: str) -> frozenset[int]:
        found, left = {place}, [place]
        while left:
            for end, condition in self.net.jumps[left.pop()]:
                if end not in found and (condition is None or _holds(condition, before, after)):
                    found.add(end)
                    left.append(end)
        return frozenset(found)

    def _after(self, place: int, before: str, sign: str) -> frozenset[int]:
        """The places behind one sign, as far as steps lead on from them."""
        return frozenset(
            end
            for each in self.closure(place, before, sign)
            for members, end in self.net.steps[each]
            if sign in members
        )

    def _contexts(self) -> dict[str, str]:
        """For each sign one that stands before a place as well as it does, whatever the conditions."""
        conditions = [
            condition for jumps in self.net.jumps for _, condition in jumps if condition is not None
        ]
        alike: dict[tuple[bool, ...], str] = {}
        return {
            sign: alike.setdefault(
                tuple(sign in signs for kind, signs in conditions if kind != "after"), sign
            )
            for sign in self.signs
        }

    def _next(self, place: int) -> frozenset[int]:
        """The places behind one sign, whatever it is and stands behind."""
        found, left = {place}, [place]
        while left:  # conditions counted as met: this is for a quick no
            new = {end for end, _ in self.net.jumps[left.pop()]} - found
            found |= new
            left += new
        return frozenset(end for each in found for members, end in self.net.steps[each] if members)

    def _reach(self, place: int) -> frozenset[int]:
        """The places that can be reached by reading at least one sign."""
        found, left = set[int](), [place]
        while left:
            new = self.next[left.pop()] - found
            found |= new
            left += new
        return frozenset(found)

    def way(self, start: int, goal: int) -> str | None:
        """The shortest text, of one sign at least, that leads from one place to another."""
        seen = {(start, before): "" for before in ("", *self.contexts)}
        left = deque(seen)
        while left:
            place, before = at = left.popleft()
            for sign in self.signs:
                for end in self.after(place, before, sign):
                    if end == goal:
                        return seen[at] + sign
                    if (state := (end, self.context[sign])) not in seen:
                        seen[state] = seen[at] + sign
                        left.append(state)
        return None

    def misfits(self, run: Iterable[int], before: str) -> list[str]:
        """The signs, "" for the text's end, with which none of these places is a match's end, comes to one
        or goes on in its loop."""
        places = list(run)
        return [
            sign
            for sign in ("", *self.signs)
            if not any(self.end in self.closure(each, before, sign) for each in places)
            and not any(
                each == end or each in self.reach[end] or self._ends(end, sign)
                for each in places
                for end in self.after(each, before, sign)
            )
        ]

    def _ends(self, place: int, before: str) -> bool:
        """True where a match ends at this place, whatever follows."""
        return all(self.end in self.closure(place, before, sign) for sign in ("", *self.signs))

    def between(self, p: int, q: int) -> SlowText | None:
        """A text that leads from p to p, from p to q and from q to q; None where there is none, or where
        nothing fails after it. In the same loop: that leads there in two ways."""
        if (p != q and q not in self.reach[p]) or not self._adds_up(p, q):
            return None
        if any(p in held and q not in held for held in self.net.held):
            return None
        for before in self.contexts:
            misfits = self.misfits([q], before)
            if misfits and p == self.outside:
                pump = self._pump_behind_starts(q, before)
            else:
                pump = self._pump(p, q, before) if misfits else None
            if pump is not None:
                start = self.way(self.outside, p) if p != self.outside else ""
                return SlowText(start or "", pump, misfits[0])
        return None

    def _adds_up(self, p: int, q: int) -> bool:
        """True where these loops, by their bounds, could read one sign too often."""
        first, second = self.net.most[p], self.net.most[q]
        if p == q:
            return first >= _MOST_WITHIN
        if p == self.outside:
            return second > _MOST_BEFORE
        return first == second == inf or _MOST_TOGETHER < first * second < inf

    def _pump_behind_starts(self, q: int, before: str) -> str | None:
        """A text that leads from a start to q, and all matches that are in q back to it, with none found."""
        start = (self.outside, frozenset({q}), before)
        seen = {start: ""}
        left = deque([start])
        while left:
            at = left.popleft()
            m, run, last = at
            for sign in self.signs:
                if any(self.end in self.closure(each, last, sign) for each in run):
                    continue  # the match is as good as found, and the next one begins behind it
                ran = frozenset(end for each in run for end in self.after(each, last, sign))
                for one in self._towards(q, m, last, sign):
                    if q in ran and (one, self.context[sign]) == (q, before) and self.misfits(ran, before):
                        return seen[at] + sign
                    if (state := (one, ran, self.context[sign])) not in seen and ran:
                        seen[state] = seen[at] + sign
                        left.append(state)
        return None

    def _pump(self, p: int, q: int, before: str) -> str | None:
        seen: dict[tuple[int, int, int, str, bool], str] = {(p, p, q, before, False): ""}
        left = deque(seen)
        while left:
            at = left.popleft()
            a, m, b, last, apart = at
            for sign in self.signs:
                for one, two, three in product(
                    self._towards(p, a, last, sign),
                    self._towards(q, m, last, sign),
                    self._towards(q, b, last, sign),
                ):
                    parted = apart or p != q or one != two
                    state = (one, two, three, self.context[sign], parted)
                    if state == (p, q, q, before, True):
                        return seen[at] + sign
                    if state not in seen:
                        seen[state] = seen[at] + sign
                        left.append(state)
        return None

    def _towards(self, goal: int, place: int, before: str, sign: str) -> list[int]:
        return [end for end in self.after(place, before, sign) if end == goal or goal in self.reach[end]]


def _holds(condition: Condition, before: str, after: str) -> bool:
    kind, signs = condition
    if kind == "before":
        return before in signs
    if kind == "after":
        return after in signs
    return ((before in signs) != (after in signs)) == (kind == "edge")


# Signs


def _classes(tree: Any, flags: int) -> list[str]:
    """One sign of each class that the pattern tells apart."""
    all_leaves = [(_sre.CATEGORY, _sre.CATEGORY_WORD), (_sre.LITERAL, ord("\n")), *_leaves(tree)]
    leaves = list({str(leaf): leaf for leaf in all_leaves}.values())
    named = dict.fromkeys(chr(code) for leaf in leaves for code in _codes(*leaf))
    bound = 0x110000 if flags & re.UNICODE else 256
    found: dict[tuple[bool, ...], str] = {}
    for sign in (*named, *_OTHERS):
        if ord(sign) < bound:
            key = tuple(_fits(operation, value, sign, flags) for operation, value in leaves)
            found.setdefault(key, sign)
    return list(found.values())


def _leaves(tree: Any) -> Iterator[tuple[Any, Any]]:
    """All that reads one sign, in a tree of the parser's."""
    for each in tree if isinstance(tree, list | tuple | _parser.SubPattern) else ():
        if isinstance(each, tuple) and len(each) == 2 and each[0] in _READ:
            yield each
        else:
            yield from _leaves(each)


def _codes(operation: Any, value: Any) -> Iterator[int]:
    """The signs that such a leaf names, and their neighbours."""
    if operation in (_sre.LITERAL, _sre.NOT_LITERAL):
        yield value
    elif operation is _sre.RANGE:
        yield from (value[0], value[1], max(0, value[0] - 1), min(0x10FFFF, value[1] + 1))
    elif operation is _sre.IN:
        for each in value:
            yield from _codes(*each)


def _members(operation: Any, value: Any, signs: Iterable[str], flags: int) -> frozenset[str]:
    return frozenset(sign for sign in signs if _fits(operation, value, sign, flags))


def _fits(operation: Any, value: Any, sign: str, flags: int) -> bool:
    if operation is _sre.ANY:
        return bool(flags & re.DOTALL) or sign != "\n"
    if operation is _sre.NOT_LITERAL:
        return not _fits(_sre.LITERAL, value, sign, flags)
    if operation is _sre.IN:
        negated = value[0][0] is _sre.NEGATE
        return negated != any(_fits(kind, each, sign, flags) for kind, each in value[negated:])
    if operation is _sre.CATEGORY:
        return _is_of(value, sign, ascii_only=not flags & re.UNICODE)
    spellings = {sign, sign.lower(), sign.upper()} if flags & re.IGNORECASE else {sign}
    low, high = value if operation is _sre.RANGE else (value, value)
    return any(len(each) == 1 and low <= ord(each) <= high for each in spellings)


def _is_of(category: Any, sign: str, *, ascii_only: bool) -> bool:
    known = sign.isascii() or not ascii_only
    if category in (_sre.CATEGORY_DIGIT, _sre.CATEGORY_NOT_DIGIT):
        return (known and sign.isdecimal()) == (category is _sre.CATEGORY_DIGIT)
    if category in (_sre.CATEGORY_SPACE, _sre.CATEGORY_NOT_SPACE):
        return (known and sign.isspace()) == (category is _sre.CATEGORY_SPACE)
    return (known and (sign.isalnum() or sign == "_")) == (category is _sre.CATEGORY_WORD)


# A canary's own redaction patterns, checked when the config is read.


class BadPattern(Exception):
    """A pattern that cannot be used; the message gives the reason."""


def pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern. Raises BadPattern, also for one that takes more than linear time on some text."""
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError) as exc:
        raise BadPattern(f"is not a regular expression: {exc}") from exc
    if compiled.search(""):
        raise BadPattern("matches the empty string; write a pattern that matches at least one character")
    try:
        slow = slow_text(compiled)
    except IntricatePattern as exc:
        raise BadPattern(f"is too intricate to be checked ({exc}); write several shorter patterns") from exc
    if slow is not None:
        text = (slow.before + 3 * slow.pump)[:40]
        raise BadPattern(
            f"would take minutes on a long text such as {text!r}…: it can read the same signs in many ways; "
            r"bound its repetitions (`\d{1,64}` for `\d+`), or let it begin at a word (`\b\d+`)"
        )
    return compiled
