"""Who decides: routers choose a model of the pool for every query, seeing only what they declare and pay for."""

from tasks.environment import enter

enter()
