import pytest

import sf_mcp.settings


@pytest.mark.parametrize("name", sf_mcp.settings.__all__)
def test_every_exported_name_is_found_where_it_lives(name: str) -> None:
    exported = getattr(sf_mcp.settings, name)
    assert exported.__name__ == name
    assert exported.__module__.startswith("sf_mcp.settings.")


def test_an_unknown_name_is_refused_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sf_mcp.settings.nothing  # pyright: ignore[reportAttributeAccessIssue]
