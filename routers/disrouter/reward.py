"""What an agent's reply is worth to it in reinforcement learning (paper, Eq. 7)."""

from routers.disrouter.agent import Decision, Heard, hear
from tasks.gold import Judge
from tasks.suite import SOLVED

GAMMA = 0.5


def rejection_reward(alpha: float, gamma: float = GAMMA) -> float:
    """Return (1 − alpha)^gamma: what a rejection earns, hence how sure an agent must be for an answer to pay."""
    return float((1.0 - alpha) ** gamma)


def reward(reply: str, judge: Judge, alpha: float, gamma: float = GAMMA) -> float:
    """Return 1 for a right answer, 0 for a wrong one, and `rejection_reward` for a rejection.

    A reply that both rejects and answers, or does neither, earns 0: the paper does not say, and anything else would
    teach to do both.
    """
    return earned(hear(reply, judge), alpha, gamma)


def earned(heard: Heard, alpha: float, gamma: float = GAMMA) -> float:
    """Return the reward of a reply that was understood already."""
    if heard.decision is Decision.REJECTS:
        return rejection_reward(alpha, gamma)
    return float(heard.decision is Decision.ANSWERS and heard.correct >= SOLVED)
