"""Keyword arguments become requests: masks, times, names of enum values, paths, choices."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from candela.recognition.v1 import recognition_service_pb2
from candela.requests import Change, build
from candela.user.v1 import (
    announcement_pb2,
    announcement_service_pb2,
    api_key_pb2,
    api_key_service_pb2,
    file_service_pb2,
    system_config_service_pb2,
)

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
Create = announcement_service_pb2.CreateAnnouncementRequest
Update = announcement_service_pb2.UpdateAnnouncementRequest
SetConfig = system_config_service_pb2.UpdateSystemConfigRequest


def test_none_is_what_was_not_given() -> None:
    request = build(api_key_service_pb2.CreateApiKeyRequest, display_name="k", budget_micro_credits=None)
    assert not request.HasField("budget_micro_credits")
    zero = build(api_key_service_pb2.CreateApiKeyRequest, display_name="k", budget_micro_credits=0)
    assert zero.HasField("budget_micro_credits")


def test_times_are_datetimes_or_timestamps() -> None:
    stamp = Timestamp()
    stamp.FromDatetime(NOON)
    assert build(Create, start_time=NOON).start_time == stamp
    assert build(Create, start_time=stamp).start_time == stamp
    with pytest.raises(ValueError, match="time zone"):
        build(Create, start_time=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("value", [timedelta(minutes=2), Duration(seconds=120)])
def test_spans_are_timedeltas_or_durations(value: timedelta | Duration) -> None:
    request = build(SetConfig, system_config=Change({"name": "systemConfigs/a"}, {"duration": value}))
    assert request.system_config.duration.seconds == 120
    assert list(request.update_mask.paths) == ["duration"]


@pytest.mark.parametrize("value", [3, "CRITICAL", "SEVERITY_CRITICAL"])
def test_enum_values_are_numbers_or_names(value: int | str) -> None:
    assert build(Create, severity=value).severity == announcement_pb2.Announcement.SEVERITY_CRITICAL


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ValueError, match="INFO, WARNING, CRITICAL"):
        build(Create, severity="LOUD")


def test_lists_of_enum_values() -> None:
    scopes = api_key_pb2.ApiKeyScope.values()[1:3]
    names = [api_key_pb2.ApiKeyScope.Name(one) for one in scopes]
    assert list(build(api_key_service_pb2.CreateApiKeyRequest, scopes=names).scopes) == list(scopes)
    with pytest.raises(TypeError, match="give a list"):
        build(api_key_service_pb2.CreateApiKeyRequest, scopes="ALL")


def test_bytes_are_given_or_read(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"page")
    for content in (b"page", bytearray(b"page"), path, str(path)):
        assert build(file_service_pb2.CreateFileRequest, filename="p", content=content).content == b"page"


def test_a_choice_is_made_once() -> None:
    kind = recognition_service_pb2.RecognizeDocumentRequest
    with pytest.raises(TypeError, match="exactly one of content, file"):
        build(kind)
    with pytest.raises(TypeError, match="exactly one of content, file"):
        build(kind, content=b"", file="")
    assert build(kind, content=b"").HasField("content")


def test_a_mask_names_what_was_given() -> None:
    change = Change({"name": "announcements/1", "etag": "7"}, {"title": "", "body": None, "severity": "INFO"})
    request = build(Update, announcement=change, request_id="1")
    assert list(request.update_mask.paths) == ["title", "severity"]
    assert (request.announcement.name, request.announcement.etag) == ("announcements/1", "7")


def test_a_mask_of_the_callers_clears_what_is_not_given() -> None:
    change = Change({"name": "announcements/1"}, {"title": "new", "end_time": None}, ["title", "end_time"])
    request = build(Update, announcement=change)
    assert list(request.update_mask.paths) == ["title", "end_time"]
    assert not request.announcement.HasField("end_time")


def test_no_change_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="at least one of title, body"):
        build(Update, announcement=Change({"name": "announcements/1"}, {"title": None, "body": None}))
