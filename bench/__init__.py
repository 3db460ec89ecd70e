"""Run and measure: suites, replay, evaluation, and the command lines."""

from tasks.environment import enter

enter()
