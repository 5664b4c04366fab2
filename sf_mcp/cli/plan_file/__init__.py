"""Plans as files that people write: Markdown or YAML. `sf plan import --help` says how.

A file becomes a `ParsedPlan` (by `markdown` or `yaml_file`), whose tasks then find one another
(`resolving`). A fault is told with its line, and before anything is stored.
"""
