import json
from dataclasses import replace

import pytest

from hftune.core import AuditFacts, LeakFacts
from hftune.errors import RunFolderError
from hftune.train.run_facts import (
    DataRecord,
    ModelRecord,
    ResultsRecord,
    read_data_record,
    read_model_record,
    read_results_record,
    read_run,
)


def test_each_record_reads_back_what_was_written(make_run, tmp_path):
    run = read_run(make_run())
    for record, read, name in (
        (run.model, read_model_record, "model.json"),
        (run.data, read_data_record, "data.json"),
        (run.results, read_results_record, "results.json"),
    ):
        assert isinstance(record, ModelRecord | DataRecord | ResultsRecord)
        (tmp_path / name).write_text(json.dumps(record.to_json()), encoding="utf-8")
        assert json.dumps(read(tmp_path).to_json()) == json.dumps(record.to_json())


def test_a_finished_run_is_read_whole(make_run):
    run = read_run(make_run("named"))
    assert run.name == "named"
    assert run.labels.names == ("bad", "good", "odd")
    assert run.labels.counts == (40, 40, 40)
    assert run.results.of("test").values["accuracy"] == 0.8
    assert run.results.of("train") is None
    assert run.environment["python"] == "3.11"
    assert isinstance(run.model.input_spec.mean, tuple)


def test_the_audit_of_the_data_reads_back_and_older_records_have_none(make_run):
    run = make_run()
    record = read_data_record(run)
    assert record.facts.audit is None
    leak = LeakFacts(split="val", images=30, exact=1, near=2)
    audit = AuditFacts(near=True, images=120, repeated=3, conflicting=1, leaks=(leak,))
    audited = replace(record, facts=replace(record.facts, audit=audit))
    (run / "data.json").write_text(json.dumps(audited.to_json()), encoding="utf-8")
    assert read_data_record(run).facts.audit == audit
    older = audited.to_json()
    del older["facts"]["audit"]
    (run / "data.json").write_text(json.dumps(older), encoding="utf-8")
    assert read_data_record(run).facts == record.facts


def test_what_is_missing_is_named(make_run, tmp_path):
    with pytest.raises(RunFolderError, match="no such run folder"):
        read_run(tmp_path / "none")
    for name in ("best/model.safetensors", "model.json", "data.json", "pins.json", "results.json"):
        run = make_run(name.replace("/", "-"))
        (run / name).unlink()
        with pytest.raises(RunFolderError, match=name):
            read_run(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "no JSON object"),
        ("{}", "no facts, splits"),
        ('{"facts": {}}', "no splits"),
        ('{"facts": {}, "splits": {"train": 3}}', "expected a JSON object"),
        ('{"facts": {}, "splits": {"train": {"count": 3}}}', "incomplete"),
        ('{"facts": {"mood": 1}, "splits": {}}', "another version"),
    ],
)
def test_a_damaged_file_is_named(make_run, text, message):
    run = make_run()
    (run / "data.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunFolderError, match=message) as caught:
        read_run(run)
    assert "data.json" in str(caught.value.where)
