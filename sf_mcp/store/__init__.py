"""Durable state in `.stoneforge/state.db`: the only package that imports sqlite.

A module per noun; each function takes the open transaction first. Rows become the frozen values of
`core.models` in `rows`, and nowhere else.
"""
