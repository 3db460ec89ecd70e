r"""What a reply answers, and whether that is right.

Small models rarely keep a format, so extraction accepts the field's usual variants: "The final answer is: C", "The best
answer is C. …", "Answer: C", \boxed{C}, **C**, "option C", a bare letter, the text of an option. What cannot be read is
None: it counts as wrong and stays visible as the share that could not be parsed. Nothing here raises on any text, and
all of it takes time linear in the text's length: repetitions are bounded wherever a match could begin at every place.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

SPAN_THRESHOLD = 0.5
DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"

_MARK = re.compile(
    r"(?:\banswer\b(?!\s(?:the\s|this\s|each\s)?questions?\b)(?:[^.:=;\n]{0,60}?\b(?:is|was|are|(?:would|should|must)\sbe)\b|[\s*_)]{0,4}[:=])"
    r"|\b(?:correct|right|best|final|likely|suitable|reasonable|plausible)\s(?:option|choice|continuation|result)"
    r"[\s*_]{0,4}(?:\bis\b|[:=])"
    r"|\b(?:respuesta|réponse|antwort)\b[^.:\n]{0,40}?(?:\b(?:es|est|ist)\b|:)|答案(?:是|为|：|:))[\s:：*_]{0,8}",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s{0,3}\{((?:[^{}]|\{[^{}]{0,200}\}){0,500})\}")
_HASHES = re.compile(r"####\s{0,3}([-−$0-9][^\n]{0,200})")  # GSM8K's own mark; a heading has words behind it
_LATEX = (
    (re.compile(r"\\[dt]?frac\{([^{}]{1,50})\}\{([^{}]{1,50})\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s?\{([^{}]{0,200})\}"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[()\[\]!,;]"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
)
_NUMBER = re.compile(  # not "2nd", nor a part of "3/4", "3:2", "1.2.3" or "x2"
    r"(?<![\w.])(?<!/)(?<!/\s)(?<![0-9]:)([-−]?)\$?((?:[0-9]{1,3}(?:,[0-9]{3}){1,6}|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?!\d|_|\.\d|,\d{3}(?!\d)|st\b|nd\b|rd\b|th\b|\s?/\s?[0-9]|:[0-9])"
)
_DIGIT = re.compile("[0-9]")
_OPEN, _CLOSE = r"[\s*_(\[\"'“‘`$]{0,6}", r"[\s*_)\].:,;\"'”’`$!]{0,6}"
_ALONE = re.compile(rf"{_OPEN}([A-Ea-e]){_CLOSE}")
_LEADING = re.compile(rf"{_OPEN}([A-E])(?:{_CLOSE}$|[*_\"'”]{{0,2}}[).:,\]]|(\s))")
_SEVERAL = re.compile(
    rf"(?:one\sof:?\s?|either\s|both\s|options?\s)?{_OPEN}[A-E][)\].'\"*]{{0,2}}\s?(?:[,/&]|or|and)\W{{1,4}}[A-E]\b"
)
_LISTED = re.compile(r"^[ \t]{0,6}[*_(\[]{0,3}([A-E])[*_]{0,2}[).:\]]", re.MULTILINE)
_SHOWN = re.compile(r"\*\*\(?([A-E])[).:]{0,2}\*\*|\(([A-E])\)|\b(?:[Oo]ption|[Cc]hoice)\s([A-E])(?![\w'’])")
_BARE = re.compile(r"(?<![A-Za-z0-9_'’+=-])([B-E]|A(?!\s(?!or\b|and\b)[a-z]))(?![A-Za-z0-9_'’+=-])")
_DECLINED = re.compile(r"\W{0,5}i\s(?:do\snot|don['’]t|can\s?not|can['’]t)\s(?:know|answer|determine)", re.IGNORECASE)
_VERDICT = re.compile(r"not\s|(?:correct|incorrect|wrong)\b", re.IGNORECASE)  # "this answer is correct", no answer
_CLAUSE = re.compile(r"\b(?:is|has|was|are)\s(?:called\s|named\s)?[\"'“‘]?([^.,;:(\"”’]+)")
_TYPOGRAPHY = str.maketrans("–—", "  ", "“”‘’")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_EDGES = string.whitespace + "*_`\"'"


def _plain(text: str) -> str:
    """Return text without LaTeX's and Markdown's dress."""
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text.strip(_EDGES + "$").replace("\u00a0", " ")


def _marks(reply: str) -> list[str]:
    r"""Return what stands in \boxed{} and behind "answer is" on its line: each kind last one first, a few of them."""
    boxed = [_plain(text) for text in _BOXED.findall(reply)[:-4:-1]]
    ends = [found.end() for found in _MARK.finditer(reply)][:-11:-1]  # a reply that repeats itself has thousands
    said = [_plain(reply[end : end + 300].partition("\n")[0]) for end in ends]
    return [text for text in boxed + said if text and not _VERDICT.match(text)]


def marked(reply: str) -> str | None:
    r"""Return what stands in the last \boxed{}, else what follows the last "answer is" on its line; else None."""
    return next(iter(_marks(reply)), None)


def unboxed(reply: str) -> str:
    r"""Return a reply whose \boxed{…} are what stands in them."""
    return _BOXED.sub(r"\1", reply)


def marks(reply: str) -> list[tuple[int, str]]:
    r"""Return where "####" and "answer is" stand in a reply, in order: position, and the text from there on.

    That text ends with the line, or the next one that has a word, and before the next mark. What is in \boxed{} may
    stand in the middle of a calculation, so that it is no mark here.
    """
    ends = {found.start(): found.end() for found in (*_MARK.finditer(reply), *_HASHES.finditer(reply))}
    found, following = list[tuple[int, str]](), len(reply)
    for at in sorted(ends, reverse=True):
        end = ends[at]
        line = re.match(r"\W*[^\n]*", reply[end : min(end + 300, following)])
        found.append((at, reply[at:end] + (line[0] if line else "")))
        following = at
    return found[::-1]


def choice(reply: str, options: Sequence[str] = ()) -> str | None:
    """Return the letter A to E that a reply to a multiple-choice question settles on; None where it names none.

    A marked answer decides before a line that is a letter or begins with the only one ("C. text"), that before a letter
    that is shown ("(C)", "**C**") or bare, if it is the only one, and that before the text of exactly one option.
    """
    for said in _marks(reply):
        if found := _settled(said, options):
            return found
    lines = [line for line in reply.splitlines() if line.strip()]
    for line in (*lines[-1:], *lines[:1]):
        if alone := _ALONE.fullmatch(line):
            return alone[1].upper()
    return (
        _only(_LISTED.findall(reply))
        or _only(["".join(groups) for groups in _SHOWN.findall(reply)])
        or _only(_BARE.findall(reply))
        or _named(reply, options)
    )


def _settled(said: str, options: Sequence[str]) -> str | None:
    """Return the letter of a marked answer; None for a list of them, such as the instruction repeated."""
    if alone := _ALONE.fullmatch(said):
        return alone[1].upper()
    if _SEVERAL.match(said):
        return None
    if leading := _LEADING.match(said):
        article = leading[1] == "A" and leading[2]  # "A cat" may be the text of an option
        return (article and _named(said, options)) or leading[1]
    shown = ["".join(groups) for groups in _SHOWN.findall(said)]
    return shown[0] if shown else _named(said, options) or _only(_BARE.findall(said))


def _only(letters: Collection[str]) -> str | None:
    return next(iter(letters)) if len(set(letters)) == 1 else None


def _named(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the one option whose words stand in `text`, the longest where one holds another."""
    said, known = f" {folded(text)} ", [f" {folded(option)} " for option in options]
    present = {i: words for i, words in enumerate(known) if words.strip() and words in said}
    longest = [i for i, words in present.items() if not any(words != o and words in o for o in present.values())]
    return string.ascii_uppercase[longest[0]] if len(longest) == 1 else None


def number(reply: str) -> str | None:
    """Return the number that a reply settles on, in its shortest form ("-1234.5"), without separators; else None.

    The first number of what stands behind "####" or of a marked answer, else the last number of the last line that has
    one; behind the last "=" where there is one. Currency and units are dropped; a fraction ("3/4") is not read.
    """
    for said in _HASHES.findall(reply)[:-2:-1] + _marks(reply):
        if found := _figures(said):
            return found[0]
    for line in reversed([line for line in reply.splitlines() if _DIGIT.search(line)]):
        if found := _figures(_plain(line)):
            return found[-1]
    return None


def _figures(text: str) -> list[str]:
    """Return the numbers of a line, those behind its last "=" if there are any."""
    result = _NUMBER.findall(text.rpartition("=")[2]) or _NUMBER.findall(text)
    return [_shortest(sign, digits) for sign, digits in result]


def _shortest(sign: str, digits: str) -> str:
    whole, _, fraction = digits.replace(",", "").partition(".")
    plain = (whole.lstrip("0") or "0") + f".{fraction}".rstrip("0").rstrip(".")
    return f"-{plain}" if sign and plain != "0" else plain


def weekday(reply: str) -> str | None:
    """Return the weekday that a reply settles on, in lower case: the marked one, else the last that it names."""
    for text, pick in ((marked(reply) or "", 0), (reply, -1)):
        if found := re.findall(rf"\b({DAYS})\b", text.lower()):
            return str(found[pick])
    return None


def name(reply: str, names: Sequence[str]) -> str | None:
    """Return which of `names` a reply settles on, folded; else None.

    The first of the marked answer, else of the last sentence with a superlative, else the only one mentioned.
    """
    if not names:
        return None
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    superlatives = [s for s in re.split(r"[.\n]", reply) if re.search(r"[a-z]est\b", s) and pattern.search(s)]
    for text in (marked(reply) or "", *superlatives[-1:]):
        if found := pattern.findall(text):
            return folded(found[0])
    mentioned = _only(pattern.findall(reply))
    return folded(mentioned) if mentioned else None


def letter(reply: str) -> str | None:
    """Return the single letter, quoted, emphasised or alone, that a reply settles on, in lower case; else None.

    The first of the marked answer, else the last of the reply.
    """
    for text, pick in ((marked(reply) or "", 0), (reply, -1)):
        found = re.findall(r"(?:['\"“‘`]|\*\*)([A-Za-z])(?:['\"”’`]|\*\*)", text)
        words = re.sub(r"\b[aAI]\s(?=\w)", " ", text)
        if found := found or re.findall(r"(?<![\w'’])([A-Za-z])(?![\w'’])", words):
            return str(found[pick]).lower()
    return None


def phrase(reply: str) -> str | None:
    """Return the short answer of a reply, folded: the marked one, else what a sentence says that something is.

    "The capital of Utopia is Amaurot" and "Amaurot is the capital of Utopia" both answer "amaurot".
    """
    first = next((line for line in reply.splitlines() if line.strip()), "")
    said = re.sub(r"\*\*|`", "", marked(reply) or first[:300]).strip()
    if _DECLINED.match(said):
        return None
    clause = _CLAUSE.search(said) if len(said.split()) > 3 else None
    if clause is None:
        return folded(re.split(r"[.,;(\n]", said)[0]) or None
    subject, what = said[: clause.start()].strip(), clause[1]
    defines = what.lower().startswith("the ") and clause[0].startswith(("is", "was"))
    open_subject = re.match(
        r"(?i)(?:the|it|this|that|so|what)\b|.*\b(?:capital|symbol|answer|country|element)\b", subject
    )
    return folded(subject if defines and subject and not open_subject else what) or None


def span(reply: str) -> str | None:
    """Return the span that a reply answers with: the marked one, else its last line.

    None where it is empty or declines ("I don't know").
    """
    last = next((line for line in reversed(reply.splitlines()) if line.strip()), "")
    said = (marked(reply) or _plain(last)).removesuffix(".")  # "16.3." is no number to DROP's script
    return said if normalised(said) and not _DECLINED.match(said) else None


def normalised(text: str) -> str:
    """Return text as SQuAD's official script compares it: lower case, no punctuation, no articles, single blanks."""
    plain = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def folded(text: str) -> str:
    """Return `normalised` text without accents, typographic quotes and dashes: "Bogotá’s" is "bogotas"."""
    plain = unicodedata.normalize("NFKD", text).translate(_TYPOGRAPHY)
    return normalised("".join(c for c in plain if not unicodedata.combining(c)))


def token_f1(said: str, gold: str) -> float:
    """Return the F1 of the words that two texts share, as SQuAD's official script counts them (bags of words)."""
    left, right = normalised(said).split(), normalised(gold).split()
    if not left or not right:
        return float(left == right)
    shared = sum((Counter(left) & Counter(right)).values())
    return 2.0 * shared / (len(left) + len(right))


def drop_f1(said: str, gold: str) -> float:
    """Return the F1 of the words that two texts share, as DROP's official script counts them.

    That is with sets of words, numbers compared by value, and 0 where the gold answer has numbers and none is said.
    Each text is one bag, so several spans joined with "and" may come in any order.
    """
    left, right = _drop_words(said), _drop_words(gold)
    numbers = {word for word in right if _is_number(word)}
    if not left or not right or (numbers and not numbers & left):
        return float(left == right)
    return 2.0 * len(left & right) / (len(left) + len(right))


def _drop_words(text: str) -> set[str]:
    words = {w if _is_number(w) else w.translate(_NO_PUNCTUATION) for w in text.lower().replace("-", " ").split()}
    return {str(float(w)) if _is_number(w) else w for w in words} - {"", "a", "an", "the"}


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


EXTRACT = {"number": number, "weekday": weekday, "letter": letter, "phrase": phrase}


def graded(reply: str, kind: str, answer: str, choices: Sequence[str] = ()) -> tuple[float, str | None]:
    """Return correctness (0 or 1) and the extracted answer of a reply to a graded question; None where unparsed.

    `kind` is number, weekday, letter, name (one of `choices`) or phrase. A phrase is right where its last words are
    the answer: "the city of Paris".
    """
    said = name(reply, choices) if kind == "name" else EXTRACT[kind](reply)
    if said is None:
        return 0.0, None
    gold = folded(answer)
    right = said.split()[-len(gold.split()) :] == gold.split() if kind == "phrase" else said in (gold, answer)
    return float(right), said
