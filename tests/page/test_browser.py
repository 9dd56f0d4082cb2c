"""The page in a browser, with Debian's Chromium: what a person sees and types, and no strangers."""

import http.client
import json
import os
import re
import shutil
import threading
import time
from unittest import mock

import pytest

from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.library.label_file import LabelFile
from atbert_jax.library.label_session import LabelSession
from atbert_jax.page.answers import Answers
from atbert_jax.page.sounds import Sounds
from atbert_jax.page.uploads import Limits
from tests.page.conftest import HOSTILE, write_sound

BROWSER = shutil.which("chromium")
PATIENCE = 120_000  # milliseconds, of a machine that has other things to do
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(model, index, tmp_path_factory):
    """The page on a free port, and the folder of what it writes."""
    folder = tmp_path_factory.mktemp("served")
    uploads, played = folder / "uploads", folder / "sounds"
    uploads.mkdir()
    played.mkdir()
    own = {"GRADIO_TEMP_DIR": str(uploads), "GRADIO_ANALYTICS_ENABLED": "False"}
    with mock.patch.dict(os.environ, own):
        uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
        pytest.importorskip("gradio", reason="the extra `serve` is not installed")
        from atbert_jax.page.site import application

        session = LabelSession(index, LabelFile(folder / "low.csv"))
        answers = Answers(model, index, uploads, Sounds(played), Limits(50, 600), session)
        app = application(answers, "127.0.0.1")
        served = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning"))
        thread = threading.Thread(target=served.run)
        thread.start()
        try:
            while not served.started:
                assert thread.is_alive()
                time.sleep(0.05)
            yield served.servers[0].sockets[0].getsockname()[1], folder
        finally:
            served.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def page(server):
    """A page that is open, whose requests and alerts are noted."""
    if not BROWSER:
        pytest.skip("chromium is not installed; apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.asked, page.alerts = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: (page.alerts.append(dialog.message), dialog.dismiss()))
        page.goto(f"http://127.0.0.1:{server[0]}/")
        yield page
        hosts = {re.split("[/:]", url)[3] for url in page.asked if url.startswith("http")}
        browser.close()
    assert not page.alerts
    assert hosts == {"127.0.0.1"}


def test_search_shows_hostile_names_as_they_are_and_plays(page):
    page.fill("#seek textarea, #seek input", "a low tone")
    page.click("#search")
    page.wait_for_selector("#found table")
    assert HOSTILE in page.inner_text("#found")
    page.evaluate("document.querySelector('#found audio').play()")
    page.wait_for_function("document.querySelector('#found audio').currentTime > 0.1")


def test_the_line_of_a_taggram_moves_with_the_player(page, tmp_path):
    page.get_by_role("tab", name="Listen").click()
    choose = page.locator("[role=tabpanel]:visible input[type=file]")
    choose.set_input_files(write_sound(tmp_path / HOSTILE, 4.0))
    page.get_by_text(re.compile("KB")).wait_for()
    page.get_by_label("Labels to choose from").fill("a low tone, a high tone")
    page.click("#listen")
    page.wait_for_selector("#heard .taggram rect")
    assert page.locator("#heard meter").count() == 2
    page.evaluate("document.querySelector('#heard audio').play()")
    page.wait_for_function("document.querySelector('#heard audio').currentTime > 0.5")
    page.evaluate("document.querySelector('#heard audio').pause()")
    page.wait_for_timeout(300)
    line = float(page.get_attribute("#heard .place", "x1"))
    at = page.evaluate("document.querySelector('#heard audio').currentTime")
    assert line == pytest.approx(1000 * at / 4.0, abs=80)  # the last picture before the pause
    picture = page.locator("#heard svg").bounding_box()
    page.mouse.click(picture["x"] + 0.75 * picture["width"], picture["y"] + 5)
    page.wait_for_function("document.querySelector('#heard audio').currentTime >= 2.9")


def test_two_gigabytes_are_refused(page, server, tmp_path):
    large = tmp_path / HOSTILE
    with large.open("wb") as file:
        file.truncate(2 * 2**30)
    page.get_by_role("tab", name="Search").click()
    page.locator("[role=tabpanel]:visible input[type=file]").set_input_files(large)
    page.get_by_text("too large; up to 50 MB are taken").wait_for()
    assert not page.locator("img[src=x]").count()
    connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", str(2 * 2**30))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (413, b"too large; up to 50 MB are taken")
    connection.close()


def test_gradio_is_asked_for_no_file_elsewhere(page, server, tmp_path):
    secret = write_sound(tmp_path / "secret.wav")
    given = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    event = {"data": ["", "", given], "fn_index": 0, "session_hash": "x"}
    connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=60)
    head = {"Content-Type": "application/json"}
    connection.request("POST", "/gradio_api/queue/join", json.dumps(event), head)
    assert connection.getresponse().status == 403
    connection.close()
    assert not list((server[1] / "uploads").rglob("secret.wav"))


def test_keys_label(page, server):
    page.get_by_role("tab", name="Label").click()
    page.get_by_label("Begin with").fill("a low tone")
    page.click("#begin")
    page.wait_for_selector("#offer .offer")
    page.get_by_label("Begin with").press("y")  # where one types, it is a letter
    page.get_by_role("tab", name="Label").focus()
    for key, said in (("y", "1 yes, 0 no"), ("n", "1 yes, 1 no"), ("u", "1 yes, 0 no")):
        page.keyboard.press(key)
        page.locator("#offer", has_text=said).wait_for()
    (record,) = read_manifest(server[1] / "low.csv", allow_outside=True)
    assert record.labels == ("low",)
