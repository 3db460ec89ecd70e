"""The answers in words: who is best, whether that is sure, and where a router's money goes."""

from collections.abc import Sequence

from leaderboard.wording import Row, decimal, join, p_value, place, signed, span, verb


def headline(rows: Sequence[Row], suite: str, level: float = 0.95) -> str:
    """Return one sentence on the rows of a panel: who is best on `suite`, ties said as ties, and by how much.

    Tied is whom no test tells from the best (rank group 1), or, where nothing was tested, who has the same utility.
    """
    ranked = sorted((row for row in rows if row["rank"] is not None), key=lambda row: (row["rank"], row["router"]))
    if not ranked:
        return "No router is ranked here."
    first, tested = ranked[0], ranked[0]["rank_group"] is not None
    tied = [row["router"] for row in ranked if (row["rank_group"] if tested else row["rank"]) == 1]
    where = f"on {suite}, {place(first)}"
    utility = f"utility {decimal(first['utility'])}{_interval(first, level)}"
    over = _over_best_single(first, ranked, level)
    if not tested:
        lead = f"{join(tied)} {verb(tied, 'has', 'share')} the highest utility {where}"
        return f"{lead}: {utility}{over}; whether that is more than chance was not tested."
    if len(tied) == 1:
        beaten = [row["versus_best"] for row in ranked if row["router"] != first["router"]]
        every = all(versus is not None and versus["p_holm"] < 1 - level for versus in beaten)
        sure = "significantly better than every other router" if every and beaten else "alone in the first rank group"
        return f"{tied[0]} is best {where}, {sure}: {utility}{over}."
    lead = f"A tie {where}: nobody is significantly better than {join(tied)}"
    return f"{lead}. {first['router']} is highest: {utility}{over}."


def _interval(row: Row, level: float) -> str:
    told = span(row["utility_low"], row["utility_high"])
    return f" ({100 * level:g} % interval {told})" if told else ""


def _over_best_single(first: Row, ranked: Sequence[Row], level: float) -> str:
    """Return how the leader stands to the best single model, the row that everyone has to beat."""
    best = next((row for row in ranked if row["router"] == "best_single"), None)
    if best is None or first["utility"] is None or best["utility"] is None:
        return ""
    if first["router"] == "best_single":  # nobody has a higher utility, whatever the tests say
        return ", and no router beats it" if first["rank_group"] is None else ", and no router is shown to beat it"
    versus = first["versus_best_single"]
    if versus is None:
        return f", {signed(first['utility'] - best['utility'])} over the best single model"
    told = span(versus["low"], versus["high"], signed)
    interval = f", interval {told}" if told else ""
    sure = "significantly" if versus["p_holm"] < 1 - level else "not significantly"
    return f", {sure} more than the best single model ({signed(versus['difference'])}{interval})"


def over_best_single(row: Row) -> str:
    """Return in words the tested difference of any router to the best single model; nothing where none was tested."""
    versus = row["versus_best_single"]
    if versus is None:
        return ""
    told = span(versus["low"], versus["high"], signed)
    interval = f" ({told})" if told else ""
    return f"{signed(versus['difference'])}{interval}, {p_value(versus['p_holm'])}"


def spending(row: Row) -> str:
    """Return where a router's answers and its money go; nothing where that is not known."""
    shares = sorted((row["share"] or {}).items(), key=lambda item: -item[1])
    answered = [f"{_percent(share)} by {name}" for name, share in shares if share >= 0.005]
    strata = [
        f"{decimal(row[f'{name}_cost'])} on {name} queries"
        for name in ("easy", "hard", "unsolvable")
        if row[f"{name}_cost"] is not None
    ]
    told = []
    if answered:
        told.append(f"answers {join(answered)}")
    if strata:
        told.append(f"mean cost {join(strata)}")
    extra = _unanswered(row)
    return "; ".join([*told, extra] if extra else told)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _unanswered(row: Row) -> str:
    """Return what is paid for calls that do not answer, where there is any."""
    final, every = row["cost_final"], row["cost_every_call"]
    if final is None or every is None or every - final < 0.0005:
        return ""
    return f"calls that do not answer would add {decimal(every - final)} to its cost of answering, {decimal(final)}"


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader has to know beside the headline."""
    ranked = [row for row in rows if row["rank"] is not None]
    leaders, paid = _leaders(ranked, "rank"), _leaders(ranked, "rank_every_call")
    told = []
    if leaders:
        leader = next(row for row in ranked if row["router"] == leaders[0])
        where = spending(leader)
        if where:
            told.append(f"Where {leader['router']}'s money goes: {where}.")
    if all(row["utility_low"] is None for row in ranked):
        told.append("There are no intervals here, so small differences may be chance.")
    if paid and paid != leaders:
        told.append(f"When every call is paid, {join(paid)} {verb(paid, 'leads', 'tie for the lead')}.")
    return told


def _leaders(rows: Sequence[Row], key: str) -> list[str]:
    ranks = [row[key] for row in rows if row[key] is not None]
    return sorted(row["router"] for row in rows if ranks and row[key] == min(ranks))
