"""The cases: what is measured, from where to where, and what stands on the other side.

Each case has a context manager that prepares both sides for an app, yields the pair of measurements, and cleans up.
"""

from cases import browsers, edit, first, footprint, load, sources
from cases.common import Case

CASES: list[Case] = [*edit.CASES, *first.CASES, *load.CASES, *footprint.CASES, *browsers.CASES, *sources.CASES]
