"""`recipe import` and `recipe export` write new files, say what they leave out, and refuse the rest with a line."""

from pathlib import Path

from tests.cli.running import Cli
from tests.config.sparseml_recipes.recipes import PRUNING, STAGED, TAGGED


def test_there_and_back(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(TAGGED.replace("head.classification_head.conv.0.0.weight", "re:head"))
    ours, again = tmp_path / "ours.yaml", tmp_path / "again.yaml"
    assert cli("recipe", "import", tmp_path / "theirs.yaml", ours).code == 0
    exported = cli("recipe", "export", ours, "--sparseml", again)
    assert exported.code == 0, exported.err
    text = again.read_text()
    assert "!MagnitudePruningModifier" in text
    assert "mask_type: block4" in text
    assert "      - backbone.body.layer1.0.conv1.weight" in text
    assert "      - head.classification_head.conv.0.0.weight" in text
    assert "optimizer, its momentum" in exported.err


def test_notes_go_to_stderr_and_into_the_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(STAGED)
    outcome = cli("recipe", "import", tmp_path / "theirs.yaml", tmp_path / "ours.yaml")
    assert outcome.code == 0
    assert "linear function is approximated by cosine" in outcome.err
    assert "# Note: line 25: the rate's linear function" in (tmp_path / "ours.yaml").read_text()
    again = cli("recipe", "import", tmp_path / "theirs.yaml", tmp_path / "ours.yaml")
    assert again.code == 2
    assert "it is not overwritten" in again.err


def test_what_has_no_counterpart_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(PRUNING.format(name="ACDCPruningModifier"))
    outcome = cli("recipe", "import", tmp_path / "theirs.yaml", tmp_path / "ours.yaml")
    assert outcome.code == 2
    assert "line 5: ACDCPruningModifier alternates" in outcome.err
    assert not (tmp_path / "ours.yaml").exists()
    exported = cli("recipe", "export", "quickstart", "--sparseml", tmp_path / "theirs2.yaml")
    assert exported.code == 2
    assert "no counterpart for pruning with schedule 'levels'" in exported.err
