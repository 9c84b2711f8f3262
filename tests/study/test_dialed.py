"""Dials beside a ledger: whole or not there, what is damaged left out, and the same on a URI."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from neglora import synced
from neglora.dial import DialError
from neglora.kept import adapter_name
from neglora.storage import CACHE
from study.dialed import DIALS, dial_name, fetch_dials, read_dial, read_dials, write_dial
from study.place import Place
from tests.neglora.test_dial import DIAL

OTHER = replace(DIAL, forget="cat", seed=1)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "study").mkdir()
    return Place(str(tmp_path), "study")


def test_a_dial_is_named_as_the_adapter_of_its_replicate(place):
    name = write_dial(place, DIAL)
    assert name == dial_name(DIAL.trial, DIAL.forget, DIAL.seed)
    stem = Path(name).name.removesuffix(".json")
    assert adapter_name(DIAL.trial, DIAL.forget, DIAL.seed) == f"{stem}.safetensors"
    assert read_dial(place.folder / name) == DIAL
    write_dial(place, OTHER)
    later = replace(DIAL, seconds=9.0)
    write_dial(place, later)
    assert sorted(read_dials(place.folder), key=lambda dial: dial.seed) == [later, OTHER]


def test_there_may_be_none(place):
    assert read_dials(place.folder) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_is_cut_off_leaves_nothing_half(place, monkeypatch, step):
    write_dial(place, DIAL)

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(synced.os, "fsync", cut)
        else:
            patch.setattr(Path, "replace", cut)
        for dial in (replace(DIAL, seconds=9.0), OTHER):
            with pytest.raises(KeyboardInterrupt):
                write_dial(place, dial)
    assert read_dials(place.folder) == [DIAL]
    # Of a process that was killed the file beside stays.
    name = dial_name(OTHER.trial, OTHER.forget, OTHER.seed)
    (place.folder / f"{name}.0123.writing").write_text('{"schema": 1, "tri')
    assert read_dials(place.folder) == [DIAL]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not JSON"),
        ('{"schema": 1, "tri', "not JSON"),
        ('{"schema": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "no integer 'schema'"),
        (json.dumps(OTHER.as_plain()), "another replicate"),
        (" " * (17 * 2**20), "larger than 16 MiB"),
    ],
)
def test_what_is_damaged_is_left_out_and_said(place, caplog, text, part):
    write_dial(place, OTHER)
    file = place.folder / dial_name(DIAL.trial, DIAL.forget, DIAL.seed)
    file.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert read_dials(place.folder) == [OTHER]
    assert part in caplog.text
    with pytest.raises(DialError, match=part):
        read_dial(file)


def test_on_a_uri_dials_go_to_the_storage_and_come_back(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "here"))
    write_dial(Place(f"file://{tmp_path}/runs", "study"), DIAL)
    monkeypatch.setenv(CACHE, str(tmp_path / "there"))
    place = Place(f"file://{tmp_path}/runs", "study")
    place.objects.write(f"study/{DIALS}/notes.txt", b"not ours")
    assert read_dials(place.folder) == []
    fetch_dials(place)
    assert read_dials(place.folder) == [DIAL]
    assert sorted(file.name for file in (place.folder / DIALS).iterdir()) == [
        Path(dial_name(DIAL.trial, DIAL.forget, DIAL.seed)).name
    ]
