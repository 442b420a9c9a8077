"""`invsolve app` in a browser: real uploads, a painted stroke, what is shown, refused and left behind."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest
from browser_fixtures import find, resize
from cli_pictures import COMMAND, environment, picture, pixels

from invsolve.cli import main

needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")
PHONE, DESKTOP = 390, 1280


class Server:
    """The command, serving at an address of this computer; its temporary files are in ``folder``."""

    def __init__(self, folder: Path, *arguments: str):
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [*COMMAND, "app", "--port", str(port), "--device", "cpu", *arguments],
            env={**environment(), "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.address in self.process.stdout.readline()

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Exit code and stderr."""
        self.process.send_signal(number)
        return self.process.wait(30), self.process.stderr.read()


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory, tiny_prior) -> Iterator[Server]:
    served = Server(tmp_path_factory.mktemp("app") / "tmp", "--prior", str(tiny_prior), "--upload", "1")
    yield served
    code, errors = served.stop()  # Gradio may have logged a connection that the browser broke off
    assert (code, errors.splitlines()[-1]) == (128 + signal.SIGINT, "invsolve: SIGINT: the page is closed")
    assert list(served.folder.glob("invsolve*")) == []


@pytest.fixture
def page(browser, server):
    resize(browser, DESKTOP)
    browser.get(server.address)
    wait(lambda: browser.find_elements("css selector", "#restore"))
    return browser


def wait(condition, seconds: float = 30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def shown(page, selector: str):
    return wait(lambda: [e for e in page.find_elements("css selector", selector) if e.is_displayed()])[0]


def upload(page, path: Path) -> None:
    page.find_element("css selector", "#picture input[type=file]").send_keys(str(path))


def choose(page, wrong: str) -> None:
    find(page, f"#wrong input[value='{wrong}']").click()


def enter(page, name: str, value: int) -> None:
    field = find(page, f"#{name} input[type=number]")
    field.clear()
    field.send_keys(f"{value}\t")


def restored(page) -> dict[str, bytes]:
    """Press the button; the files that come, by their names."""
    find(page, "#restore").click()
    shown(page, "#slider img")
    links = wait(lambda: page.find_elements("css selector", "#files a[href]"))
    addresses = [link.get_attribute("href") for link in links]
    found = {}
    for address in addresses:
        with urlopen(address) as answer:
            found[address.rpartition("/")[2]] = answer.read()
    return found


def same_by_command(page, tmp_path: Path) -> bytes:
    """The restored file that the shown command writes, in the folder where the named files are."""
    words = shlex.split(shown(page, "#command .cm-line").text)
    assert words[:2] == ["invsolve", "run"]
    assert main([*words[1:], "--device", "cpu"]) == 0
    (path,) = tmp_path.glob("*_restored.*")
    return path.read_bytes()


@pytest.mark.slow
@needs_gradio
def test_an_uploaded_picture_is_restored_as_by_the_command(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    upload(page, picture(tmp_path / "small.png"))
    shown(page, "#preview img")
    files = restored(page)
    assert list(files) == ["small_restored.png"]
    assert files["small_restored.png"] == same_by_command(page, tmp_path)
    assert "gray levels" in find(page, "#status").text
    size = page.execute_script("return [...document.querySelectorAll('#slider img')].map(i => i.naturalWidth)")
    assert set(size) == {256}


@pytest.mark.slow
@needs_gradio
def test_what_is_painted_is_restored_and_nothing_else(page, tmp_path, monkeypatch):
    from selenium.webdriver import ActionChains

    monkeypatch.chdir(tmp_path)
    source = picture(tmp_path / "torn.png", 200, 300)
    upload(page, source)
    choose(page, "Scratched")
    shown(page, "#painted canvas")
    time.sleep(2)  # the canvas is laid out in steps
    canvas = find(page, "#painted canvas")
    ActionChains(page).move_to_element(canvas).click_and_hold().move_by_offset(30, 10).move_by_offset(
        30, 0
    ).release().perform()
    time.sleep(1)
    files = restored(page)
    assert set(files) == {"torn_restored.png", "torn_mask.png"}
    (tmp_path / "torn_mask.png").write_bytes(files["torn_mask.png"])
    (tmp_path / "got.png").write_bytes(files["torn_restored.png"])
    missing = pixels(tmp_path / "torn_mask.png") == 0
    assert missing.shape == (200, 300)
    assert 0.005 < missing.mean() < 0.1
    assert missing[100, 150]  # where the stroke began, in the middle
    changed = (pixels(tmp_path / "got.png") != pixels(source)).any(axis=2)
    assert changed[missing].mean() > 0.9
    assert not changed[~missing].any()
    assert files["torn_restored.png"] == same_by_command(page, tmp_path)


@pytest.mark.slow
@needs_gradio
def test_an_example_is_spoilt_and_measured_with_samples(page, tmp_path):
    find(page, "#examples button").click()
    shown(page, "#preview img")
    enter(page, "samples", 3)
    enter(page, "steps", 1)
    choose(page, "Noisy")
    files = restored(page)
    names = ("restored.png", "measurement.png", "mean.png", "std.png", "sample3.png", "metrics.json")
    assert {f"astronaut_{name}" for name in names} <= files.keys()
    assert "PSNR" in find(page, "#status").text
    assert len(page.find_elements("css selector", "#gallery .grid-container button, #gallery .thumbnail-item")) >= 4
    assert shown(page, "#deviation img")


@pytest.mark.slow
@needs_gradio
def test_a_stopped_picture_leaves_the_turn_to_the_next(page, tmp_path):
    upload(page, picture(tmp_path / "a.png", 128, 128))  # so large that it is not done before
    shown(page, "#preview img")
    enter(page, "steps", 64)
    find(page, "#restore").click()
    wait(lambda: "of 64" in find(page, "#status").text)
    find(page, "#stop").click()
    wait(lambda: "Stopped" in find(page, "#status").text)
    enter(page, "steps", 1)
    assert list(restored(page)) == ["a_restored.png"]


@pytest.mark.slow
@needs_gradio
@pytest.mark.parametrize("large", [False, True])
def test_other_files_are_refused_in_words(page, tmp_path, large):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(1_100_000 if large else 1000))
    upload(page, path)
    message = shown(page, ".toast-body").text
    assert ("maximum" if large else "film.mp4: cannot be read as a picture") in message
    assert "/" not in message.replace("</", "")


@pytest.mark.slow
@needs_gradio
def test_missing_values_are_named(page, tmp_path):
    find(page, "#restore").click()
    assert "no picture yet" in shown(page, ".toast-body").text
    upload(page, picture(tmp_path / "a.png"))
    shown(page, "#preview img")
    choose(page, "Torn or with holes")
    shown(page, "#painted canvas")
    find(page, "#restore").click()
    wait(lambda: any("paint over" in e.text for e in page.find_elements("css selector", ".toast-body")))


@pytest.mark.slow
@needs_gradio
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_it_fits_and_loads_nothing_from_elsewhere(page, tmp_path, width):
    resize(page, width)
    upload(page, picture(tmp_path / "small.png"))
    shown(page, "#preview img")
    restored(page)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    names = page.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert names
    own = page.execute_script("return location.origin")
    assert all(name.startswith((own, "blob:", "data:")) for name in names)
    assert not any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


@pytest.mark.slow
@needs_gradio
def test_asks_for_a_password(browser, tmp_path, tiny_prior):
    served = Server(tmp_path / "tmp", "--prior", str(tiny_prior), "--auth", "me:pass:word")
    try:
        browser.get(served.address)
        shown(browser, "input[type=password]")
        assert not browser.find_elements("css selector", "#restore")
        with pytest.raises(OSError, match="401"):
            urlopen(f"{served.address}/config")
    finally:
        code, _ = served.stop(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert list(served.folder.glob("invsolve*")) == []


def refusal(capsys, *arguments: str) -> str:
    assert main(["app", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_bad_options_are_refused_in_a_line(capsys, monkeypatch):
    assert "USER:PASSWORD" in refusal(capsys, "--auth", "me")
    assert "no-such-prior" in refusal(capsys, "--prior", "no-such-prior")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refusal(capsys, "--port", str(port))
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert 'pip install "invsolve[app]"' in refusal(capsys, "--port", str(port))
