"""The page: what it shows, laid out with Gradio, and the addresses that it answers at."""

from pathlib import Path

import fastapi
import gradio as gr
from fastapi.responses import FileResponse, PlainTextResponse

from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.library.active_learning import NO, SKIP, YES
from atbert_jax.page.answers import Answers
from atbert_jax.page.guard import Guard

HERE = Path(__file__).parent
PRIVATE = {"api_visibility": "private"}  # no interface for programs


def application(answers: Answers, host: str) -> Guard:
    """All that a server answers.

    Args:
        answers: Of the page.
        host: That it will listen on.

    Returns:
        An ASGI application.
    """
    app = fastapi.FastAPI(openapi_url=None)

    @app.get("/sound/{number}")
    def sound(number: int) -> fastapi.Response:
        try:
            file = answers.sounds.file(number)
        except AudioError:
            file = None
        if file is None:
            return PlainTextResponse("there is no such sound", 404)
        return FileResponse(file, media_type="audio/wav")

    script = (HERE / "page.js").read_text(encoding="utf-8")
    script = script.replace("= LARGEST", f"= {answers.limits.bytes}")
    gr.mount_gradio_app(
        app,
        layout(answers),
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=answers.limits.bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        head=f"<script>{script}</script>",
    )
    return Guard(app, answers.limits.bytes, answers.uploads, host)


def layout(answers: Answers) -> gr.Blocks:
    """The three parts of the page."""
    # Uploads that nobody asks about any more are removed after an hour.
    with gr.Blocks(title="atbert", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        index = answers.index
        gr.Markdown(f"{len(index.records)} recordings, {len(index)} windows")
        with gr.Tab("Search"):
            _search(answers)
        with gr.Tab("Listen"):
            _listen(answers)
        with gr.Tab("Label") as tab:
            _label(answers, tab)
    return blocks.queue(default_concurrency_limit=1)


def _upload(label: str) -> gr.File:
    return gr.File(label=label, type="filepath", height=130, elem_classes="upload")


def _search(answers: Answers) -> None:
    with gr.Row():
        text = gr.Textbox(label="What you seek", placeholder="sad piano", elem_id="seek")
        without = gr.Textbox(label="Without", placeholder="vocals")
    clip = _upload("Or a clip that is like it")
    ask = gr.Button("Search", variant="primary", elem_id="search")
    found = gr.HTML(elem_id="found")
    given = [text, without, clip]
    ask.click(answers.search, given, found, **PRIVATE)
    text.submit(answers.search, given, found, **PRIVATE)


def _listen(answers: Answers) -> None:
    clip = _upload(f"A recording of up to {answers.limits.megabytes:g} MB")
    with gr.Row():
        labels = gr.Textbox(label="Labels to choose from", placeholder="jazz, rock, choir")
        template = gr.Textbox(label="Text of a label", value="{}")
    ask = gr.Button("Listen", variant="primary", elem_id="listen")
    heard = gr.HTML(elem_id="heard")
    ask.click(answers.listen, [clip, labels, template], heard, **PRIVATE)


def _label(answers: Answers, tab: gr.Tab) -> None:
    if answers.session is None:
        gr.HTML(answers.begin("", None)[0])
        return
    window = gr.State(None)
    with gr.Row():
        text = gr.Textbox(label="Begin with", placeholder="sad piano")
        begin = gr.Button("Begin, or go on", elem_id="begin")
    clip = _upload("Or with a clip that is like it")
    offer = gr.HTML(elem_id="offer")
    with gr.Row():
        for key, says in (("y", YES), ("n", NO), ("s", SKIP)):
            button = gr.Button(f"{says} ({key})", elem_id=f"label-{says}")
            button.click(
                lambda number, says=says: answers.say(number, says),
                window,
                [offer, window],
                **PRIVATE,
            )
        undo = gr.Button("undo (u)", elem_id="label-undo")
    undo.click(answers.undo, None, [offer, window], **PRIVATE)
    begin.click(answers.begin, [text, clip], [offer, window], **PRIVATE)
    tab.select(lambda: answers.begin("", None), None, [offer, window], **PRIVATE)
