"""AutoMix's decision problem as a POMDP of pomdp_py, and a planner that solves it exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pomdp_py

from routers.base import BoolArray, FloatArray, IntArray
from tasks.errors import InputError

MOST_BELIEFS = 500_000


@dataclass(frozen=True)
class State(pomdp_py.State):  # type: ignore[misc]  # pomdp_py ships without types
    """`stage`: which model answered last, −1 before any did. `category`: the smallest model that is right, K if none.

    With two models category 0 is AutoMix's "good", 1 "needy" and 2 "hopeless".
    """

    stage: int
    category: int


@dataclass(frozen=True)
class Step(pomdp_py.Action):  # type: ignore[misc]
    """Route to the model `forward` places further on, or, with 0, keep the answer that is there."""

    forward: int


@dataclass(frozen=True)
class Verdict(pomdp_py.Observation):  # type: ignore[misc]
    """What a model's verification of its own answer came to: the number of a bin, the last where no vote was valid."""

    bin: int


@dataclass(frozen=True, eq=False)
class Cascade:
    """K models in order of cost: what they cost, which is the smallest that is right, and what they say of it.

    `costs` (K,); `prior` (K + 1,) P(category); `verdicts` (K − 1, K + 1, n_verdicts) P(verdict of a model | category).
    The last model is not verified. A verification costs as much as an answer (DiSRouter paper, Appendix F).
    """

    costs: FloatArray
    prior: FloatArray
    verdicts: FloatArray

    @classmethod
    def estimate(
        cls,
        costs: FloatArray,
        category: IntArray,
        verdicts: IntArray,
        weight: FloatArray,
        n_verdicts: int,
        shrinkage: float,
    ) -> Self:
        """Count: `category` and `weight` are (n,), `verdicts` (n, K − 1).

        After one verdict P(category) is its mean over the queries with that verdict and `shrinkage` more queries that
        are like all: a verdict that never occurred tells nothing.
        """
        n, k = len(category), len(costs)
        weight = weight * (n / weight.sum())
        prior = np.bincount(category, weight, minlength=k + 1) / n
        counts = np.zeros((k - 1, k + 1, n_verdicts))
        for stage in range(k - 1):
            np.add.at(counts[stage], (category, verdicts[:, stage]), weight)
        counts += shrinkage * prior[:, None]
        total = counts.sum(axis=2, keepdims=True)
        uniform = np.full_like(counts, 1.0 / n_verdicts)
        return cls(costs, prior, np.divide(counts, total, out=uniform, where=total > 0.0))

    @property
    def last(self) -> int:
        """The stage at which the episode ends: the largest model has answered, or an answer was kept."""
        return len(self.costs) - 1

    def states(self) -> list[State]:
        """Return every state: all categories at every stage before the last, where the category is told no more."""
        running = [State(stage, c) for stage in range(-1, self.last) for c in range(len(self.prior))]
        return [*running, State(self.last, 0)]

    def after(self, state: State, action: Step) -> State:
        """Return the next state. The smallest model comes first, whatever is done; nobody is routed past the last."""
        if state.stage == self.last or (action.forward == 0 and state.stage >= 0):
            return State(self.last, 0)
        stage = 0 if state.stage < 0 else min(state.stage + action.forward, self.last)
        return State(stage, 0 if stage == self.last else state.category)

    def agent(self, price: float) -> Any:
        """Return the `pomdp_py.Agent` that minds cost by `price`, before any model was asked."""
        belief = {state: float(self.prior[state.category]) if state.stage < 0 else 0.0 for state in self.states()}
        return pomdp_py.Agent(
            pomdp_py.Histogram(belief), _Policy(self), _Transition(self), _Observation(self), Reward(self, price)
        )


class _Model:
    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade


class _Transition(_Model, pomdp_py.TransitionModel):  # type: ignore[misc]
    """Deterministic: the category never changes."""

    def probability(self, next_state: State, state: State, action: Step) -> float:
        return float(next_state == self.cascade.after(state, action))

    def sample(self, state: State, action: Step) -> State:
        return self.cascade.after(state, action)

    def get_all_states(self) -> list[State]:
        return self.cascade.states()


class _Observation(_Model, pomdp_py.ObservationModel):  # type: ignore[misc]
    """The verdict of the model that was just asked; "no valid vote" at the end."""

    def probability(self, observation: Verdict, next_state: State, action: Step) -> float:
        del action
        if next_state.stage in (-1, self.cascade.last):
            return float(observation == self.get_all_observations()[-1])
        return float(self.cascade.verdicts[next_state.stage, next_state.category, observation.bin])

    def get_all_observations(self) -> list[Verdict]:
        return [Verdict(b) for b in range(self.cascade.verdicts.shape[2])]


class _Policy(_Model, pomdp_py.PolicyModel):  # type: ignore[misc]
    """The smallest model is asked first; then any larger one may be, or the answer kept. No action ends an episode."""

    def get_all_actions(self, state: State | None = None, history: object = None) -> list[Step]:
        del history
        last = self.cascade.last
        if state is None:
            return [Step(forward) for forward in range(max(last, 1) + 1)]
        if state.stage < 0:
            return [Step(1)]
        return [] if state.stage == last else [Step(forward) for forward in range(last - state.stage + 1)]


class Reward(_Model, pomdp_py.RewardModel):  # type: ignore[misc]
    """`right` · [the answer that is delivered is right] − `price` · cost of what was asked for it.

    A model counts as right where a smaller one is: AutoMix's reward for routing is [good or needy].
    """

    def __init__(self, cascade: Cascade, price: float, right: float = 1.0) -> None:
        super().__init__(cascade)
        self.price = price
        self.right = right

    def sample(self, state: State, action: Step, next_state: State | None = None) -> float:
        """Return the reward, which is deterministic."""
        del next_state
        last = self.cascade.last
        if state.stage == last:
            return 0.0
        if action.forward == 0 and state.stage >= 0:
            return self.right * (state.category <= state.stage)
        stage = self.cascade.after(state, action).stage
        if stage == last:
            return self.right * (state.category <= last) - self.price * float(self.cascade.costs[last])
        return -self.price * 2.0 * float(self.cascade.costs[stage])


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do at each of N beliefs; belief 0 is the agent's own.

    `action` (N + 1,) the action's index; `following` (N + 1, n_observations) the next belief given what is then
    observed, −1 where none follows; the last row stands for −1 and does action 0. `total` (M,) is what the plan is
    expected to bring of every kind of reward.
    """

    action: IntArray
    following: IntArray
    total: FloatArray


class ReachableBeliefs:
    """Every belief that an agent can come to within `horizon` actions, found forwards, and plans, found backwards.

    A belief is kept unnormalised, as the probability of every state and all that was observed, so that the value of
    what follows is a plain sum. `rewards` are the kinds of reward to tell apart, by default the agent's own alone.
    """

    def __init__(self, agent: Any, horizon: int, rewards: Sequence[Any] | None = None) -> None:
        states, actions, observations = agent.all_states, agent.all_actions, agent.all_observations
        to, see = agent.transition_model.probability, agent.observation_model.probability
        legal = [agent.policy_model.get_all_actions(state=state) for state in states]
        self._legal_in: BoolArray = np.array([[action in those for action in actions] for those in legal])  # (S, A)
        self._moves: FloatArray = np.array([[[to(t, s, a) for t in states] for s in states] for a in actions])
        self._seen: FloatArray = np.array([[[see(o, t, a) for t in states] for o in observations] for a in actions])
        self._expand(np.array([[agent.belief[state] for state in states]], dtype=np.float64), horizon)
        kinds = [agent.reward_model] if rewards is None else rewards
        reward = np.array([[[[m.sample(s, a, t) for m in kinds] for t in states] for s in states] for a in actions])
        expected = np.einsum("ast,astm->sam", self._moves, reward)
        self._now: FloatArray = np.einsum("ns,sam->nam", self.beliefs, expected)

    def _expand(self, start: FloatArray, horizon: int) -> None:
        ended = ~self._legal_in.any(axis=1)
        level, count = start, 1
        beliefs, children, levels = [start], [], [slice(0, 1)]
        for _ in range(horizon - 1):
            child = np.full((len(level), *self._seen.shape[:2]), -1, dtype=np.int64)
            found = []
            for action, legal in enumerate(self._legal(level).T):
                moved = np.where(ended, 0.0, level @ self._moves[action])
                for observation, likelihood in enumerate(self._seen[action]):
                    reached = moved * likelihood
                    alive = np.flatnonzero(legal & (reached > 0.0).any(axis=1))
                    child[alive, action, observation] = count + np.arange(len(alive))
                    count += len(alive)
                    found.append(reached[alive])
                    if count > MOST_BELIEFS:
                        raise InputError(
                            f"there are more than {MOST_BELIEFS} beliefs to plan for; take fewer models or fewer bins"
                        )
            children.append(child)
            level = np.concatenate(found)
            if len(level) == 0:
                break
            levels.append(slice(count - len(level), count))
            beliefs.append(level)
        else:
            children.append(np.full((len(level), *self._seen.shape[:2]), -1, dtype=np.int64))
        self.beliefs: FloatArray = np.concatenate(beliefs)
        self._child: IntArray = np.concatenate(children)
        self._levels = levels

    def _legal(self, beliefs: FloatArray) -> BoolArray:
        """Return (n, A): the actions that are legal in every state that a belief holds possible."""
        forbidden = (beliefs > 0.0).astype(np.float64) @ (~self._legal_in).astype(np.float64)
        legal: BoolArray = forbidden == 0.0
        return legal

    def solve(self, weights: Sequence[float] = (1.0,)) -> Plan:
        """Return the plan that is best by the sum of rewards by (M,) weights; of equally good actions the first."""
        n, n_actions = self._child.shape[:2]
        total = np.zeros((n + 1, len(weights)))
        chosen = np.zeros(n + 1, dtype=np.int64)
        for level in reversed(self._levels):
            value = self._now[level] + total[self._child[level]].sum(axis=2)
            legal = self._legal(self.beliefs[level])
            worth = np.where(legal, value @ np.asarray(weights), -np.inf)
            slack = 1e-12 * self.beliefs[level].sum(axis=1, keepdims=True)
            best = (worth >= worth.max(axis=1, keepdims=True) - slack).argmax(axis=1)
            chosen[level], total[level] = best, value[np.arange(len(best)), best]
        none = np.full((1, n_actions, self._child.shape[2]), -1, dtype=np.int64)
        following = np.concatenate([self._child, none])[np.arange(n + 1), chosen]
        return Plan(chosen, following, total[0])


class ReachablePlanner(pomdp_py.Planner):  # type: ignore[misc]
    """Exact planning over the beliefs that can be reached: what `pomdp_py.ValueIteration` finds, without enumerating.

    `ValueIteration` builds every policy tree, about 3.4 times as many with each bin.
    """

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon

    def plan(self, agent: Any) -> Any:
        """Return the best action at the agent's belief."""
        return agent.all_actions[int(self.solve(agent).action[0])]

    def solve(self, agent: Any) -> Plan:
        """Return the whole plan for the agent's belief and reward."""
        return ReachableBeliefs(agent, self._horizon).solve()


def plans_by_price(cascade: Cascade, most: int) -> list[Plan]:
    """Return the plans that are best at some price of cost, from the cheapest to the dearest; at most about `most`.

    The worth of a plan, P(right) − price · cost, is a line over price, that of the best plan the upper envelope of
    all: where the lines of two plans cross, either they are best or a third one is. With two models the plans are the
    nested thresholds on P(needy | verdict), all of them. `Plan.total` is (P(right), cost).
    """
    agent = cascade.agent(price=0.0)
    kinds = [Reward(cascade, price=0.0), Reward(cascade, price=-1.0, right=0.0)]
    beliefs = ReachableBeliefs(agent, len(cascade.costs), kinds)
    cheapest, dearest = beliefs.solve((1.0, -1e6)), beliefs.solve((1.0, -1e-6))
    found, waiting = [cheapest], [(cheapest, dearest)]
    if dearest.total[1] > cheapest.total[1] + 1e-12:
        found.append(dearest)
    else:
        waiting.clear()
    while waiting and len(found) < most:
        left, right = waiting.pop(0)
        gain, cost = right.total - left.total
        between = beliefs.solve((1.0, -gain / cost))
        if between.total @ (1.0, -gain / cost) > left.total @ (1.0, -gain / cost) + 1e-12:
            found.append(between)
            waiting += [(left, between), (between, right)]
    return sorted(found, key=lambda plan: float(plan.total[1]))
