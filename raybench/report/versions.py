"""Which code made a run, in words: raybench by its own commit, the user's folder apart from it."""

from collections.abc import Mapping
from typing import Any


def code_versions(manifest: Mapping[str, Any]) -> str:
    """Return "raybench 0.1.0, commit 1a2b...; project folder at commit 3c4d..." as far as it is known."""
    own, project = manifest.get("raybench_commit"), manifest.get("project_commit")
    text = f"raybench {manifest['raybench']}{f', commit {own}' if own else ''}"
    return f"{text}; project folder at commit {project}" if project and project != own else text
