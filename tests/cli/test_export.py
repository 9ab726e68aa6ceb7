import json

from hftune.cli.main import invoke


def test_export_builds_draws_and_lists(make_run, capsys):
    run = make_run()
    assert invoke(["export", str(run), "--no-verify", "--repo", "me/tiny"]) == 0
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert "hftune/confusion.png" in out
    assert str(run / "artifact") in out
    assert (run / "report" / "learning_curves.png").is_file()
    assert "hf-hub:me/tiny" in (run / "artifact" / "README.md").read_text(encoding="utf-8")


def test_export_as_json(make_run, capsys):
    run = make_run()
    assert invoke(["export", str(run), "--no-verify", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["folder"] == str(run / "artifact")
    assert values["files"]["model.safetensors"] > 100_000
    assert len(values["digest"]) == 64
    assert values["verified_by"] == []


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    assert invoke(["export", str(tmp_path / "none")]) == 2
    assert "no such run folder" in capsys.readouterr().err
