from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec
import pytest

from made_results import make_results
from slicewise.results import (
    DISCLAIMER,
    Evidence,
    EvidenceMap,
    Rejection,
    StudyResult,
    aggregate,
    decode_results,
    encode_results,
    results_schema,
    write_results_json,
)


def test_studies_have_thresholds_of_their_own_where_there_are_any() -> None:
    model = make_results().model
    values = {"any": 0.5, "left": 0.4}
    low = msgspec.structs.replace(model, thresholds={"any": 0.3, "left": 0.4})
    assert low.flagged(values) == low.flagged_study(values) == ("any", "left")
    assert b"study_threshold" not in msgspec.json.encode(low)
    own = msgspec.structs.replace(low, study_thresholds={"any": 0.5, "left": 0.41}, study_threshold_rule="higher")
    assert (own.flagged(values), own.flagged_study(values)) == (("any", "left"), ("any",))
    assert msgspec.json.decode(msgspec.json.encode(own), type=type(own)) == own


def test_json_follows_its_schema_and_comes_back() -> None:
    results = make_results()
    content = encode_results(results)
    jsonschema.validate(json.loads(content), results_schema())
    loaded = decode_results(content)
    assert loaded.studies[0].series == results.studies[0].series
    assert loaded.disclaimer == DISCLAIMER
    assert b"private" not in content
    assert loaded.studies[0].sources == {}


def test_json_tells_what_the_images_of_a_series_are_multiplied_by() -> None:
    results = make_results()
    assert json.loads(encode_results(results))["studies"][0]["series"][0]["intensity_scale"] == 1.0
    series = msgspec.structs.replace(results.studies[0].series[0], intensity_scale=12.5)
    study = msgspec.structs.replace(results.studies[0], series=(series,))
    content = encode_results(msgspec.structs.replace(results, studies=(study,)))
    jsonschema.validate(json.loads(content), results_schema())
    assert decode_results(content).studies[0].series == (series,)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("file", ["IM0", "IM\udcff", 'quoted " and \n "studies": []'])
def test_json_written_study_by_study_has_the_same_bytes(tmp_path: Path, count: int, file: str) -> None:
    results = make_results()
    series = results.studies[0].series[0]
    renamed = msgspec.structs.replace(series, slices=(msgspec.structs.replace(series.slices[0], file=file),))
    studies = (msgspec.structs.replace(results.studies[0], series=(renamed, series)),) * count
    rejected = (*results.rejected, Rejection(file, "unreadable", "not_dicom", "No."))
    results = msgspec.structs.replace(results, studies=studies, rejected=rejected)
    write_results_json(tmp_path / "results.json", results, iter(studies))
    assert (tmp_path / "results.json").read_bytes() == encode_results(results)


def test_json_of_a_study_that_fails_is_not_there(tmp_path: Path) -> None:
    def studies() -> Iterator[StudyResult]:
        yield from make_results().studies
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_results_json(tmp_path / "results.json", make_results(), studies())
    assert list(tmp_path.iterdir()) == []


def test_json_tells_where_the_evidence_lies_and_leaves_out_what_is_for_pictures() -> None:
    plain = make_results()
    series = plain.studies[0].series[0]
    found = (Evidence("any", 12.5, 30.0, 0.4, "map"),)
    picture = EvidenceMap("any", "map", 1, b"cells", 0.0, 0.0, 8.0, 8.0)
    slices = (msgspec.structs.replace(series.slices[0], evidence=found, evidence_map=picture), *series.slices[1:])
    study = msgspec.structs.replace(plain.studies[0], series=(msgspec.structs.replace(series, slices=slices),))
    content = encode_results(msgspec.structs.replace(plain, studies=(study,)))
    document = json.loads(content)
    jsonschema.validate(document, results_schema())
    shown, other, _ = document["studies"][0]["series"][0]["slices"]
    assert shown["evidence"] == [{"label": "any", "row": 12.5, "column": 30.0, "value": 0.4, "method": "map"}]
    assert "evidence" not in other
    assert b"evidence_map" not in content
    assert decode_results(content).studies[0].series[0].slices[0].evidence == found


def test_the_schema_promises_no_sources() -> None:
    definitions = results_schema()["$defs"]
    assert "sources" not in definitions["StudyResult"]["properties"]
    assert "Source" not in definitions
    assert "evidence_map" not in definitions["SliceResult"]["properties"]
    assert "EvidenceMap" not in definitions


def test_the_schema_refuses_what_does_not_fit() -> None:
    content = json.loads(encode_results(make_results()))
    del content["studies"][0]["series"][0]["slices"][0]["sop_uid"]
    with pytest.raises(jsonschema.ValidationError, match="sop_uid"):
        jsonschema.validate(content, results_schema())


def test_a_label_is_flagged_at_its_threshold() -> None:
    model = make_results().model
    assert model.flagged({"any": 0.2, "left": 0.49}) == ("any",)
    assert model.flagged({"any": 0.19, "left": 0.5}) == ("left",)


def test_max_takes_the_highest_of_each_label() -> None:
    assert aggregate([{"any": 0.1, "left": 0.9}, {"any": 0.3, "left": 0.2}], "max") == {"any": 0.3, "left": 0.9}
    with pytest.raises(ValueError, match="mean"):
        aggregate([{"any": 0.1}], "mean")


def test_nothing_is_flagged_where_the_scan_is_unlike_the_training_data() -> None:
    results = make_results()
    (study,) = results.studies
    (series,) = study.series
    assert [results.model.flagged_on(item, series) for item in series.slices] == [(), (), ("any",)]
    assert [item.slice_index for item in results.model.flagged_slices(series)] == [2]
    assert results.model.flagged_of(study) == results.model.flagged_of(series) == ("any",)
    odd = msgspec.structs.replace(series, unlike_training=True)
    assert results.model.flagged_slices(odd) == ()
    assert results.model.flagged_of(odd) == ()
    assert results.model.flagged_of(msgspec.structs.replace(study, series=(odd,))) == ()


def test_json_shows_text_without_an_encoding() -> None:
    # What os.fsdecode makes of the file name b"IM\xff".
    results = make_results()
    rejected = (Rejection("IM\udcff", "unreadable", "not_dicom", "IM\udcff is no DICOM file."),)
    study = msgspec.structs.replace(results.studies[0], patient_id="P\udc80")
    results = msgspec.structs.replace(results, rejected=rejected, studies=(study,))
    content = encode_results(results)
    jsonschema.validate(json.loads(content), results_schema())
    loaded = decode_results(content)
    assert loaded.rejected[0].path == r"IM\udcff"
    assert loaded.studies[0].patient_id == r"P\udc80"
    assert loaded.studies[0].probabilities == results.studies[0].probabilities
    assert b"private" not in content


def test_json_tells_how_familiar_a_scan_is() -> None:
    results = make_results()
    (study,) = results.studies
    (series,) = study.series
    odd = msgspec.structs.replace(series, familiarity=1 / 96, unlike_training=True)
    mixed = msgspec.structs.replace(study, series=(msgspec.structs.replace(series, familiarity=0.5), odd))
    assert (mixed.unlike_training, mixed.familiarity) == (True, 1 / 96)
    assert (study.unlike_training, study.familiarity) == (False, None)
    content = encode_results(msgspec.structs.replace(results, studies=(mixed,)))
    jsonschema.validate(json.loads(content), results_schema())
    assert [item.unlike_training for item in decode_results(content).studies[0].series] == [False, True]


def test_a_study_is_flagged_by_its_other_series_where_one_is_unlike_the_training_data() -> None:
    results = make_results()
    (study,) = results.studies
    (series,) = study.series
    odd = msgspec.structs.replace(series, series_uid="1.4", unlike_training=True)
    mixed = msgspec.structs.replace(study, series=(series, odd))
    assert mixed.unlike_training
    assert results.model.flagged_of(mixed) == ("any",)
