"""The page: results of runs → plain dict → one self-contained HTML file."""

from tasks.environment import enter

enter()
