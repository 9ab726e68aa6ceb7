"""The frame of the command line: instant help, exit codes, close verbs."""

import subprocess
import sys

import pytest

from hftune.cli.main import VERBS, invoke


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['hftune', '--help']\n"
        "from hftune.cli.main import invoke\n"
        "invoke(['--help'])\n"
        "heavy = {'torch', 'timm', 'datasets', 'huggingface_hub', 'pydantic', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert verb in done.stdout


def test_version(capsys):
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hftune ")


def test_a_misspelt_verb_names_the_close_one(capsys):
    assert invoke(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert invoke([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_a_missing_argument_is_a_wrong_request(capsys):
    assert invoke(["train"]) == 2
    assert "argument 'recipe'" in capsys.readouterr().err.lower()
