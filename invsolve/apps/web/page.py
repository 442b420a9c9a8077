"""The page: its fields and what is shown. It restores nothing itself: see ``form`` and ``desk``."""

from __future__ import annotations

import contextlib
import html
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import gradio as gr
import numpy as np
from gradio.components import Component
from torch import Tensor

from ...images.files import in_channels, over, read_image, read_picture, resized, to_bytes
from ...specs.options import AppOptions, Format, RunOptions
from .desk import Desk, Progress, Restored
from .form import TASKS, Form, command, has_level, takes

SHOWN = 1024  # pixels per side, at most, of pictures that are only looked at or painted on
CLEANING = (600, 7200)  # seconds between looks for old files, and the age at which they are removed
MISSING = "#ff00ff"  # colour of the brush
STYLE = """
#examples { min-height: 0; }
#examples .grid-wrap, #gallery .grid-wrap { min-height: 0; max-height: none; }
#examples .grid-container { grid-template-columns: repeat(4, 1fr) !important; }
.gradio-container { width: 100%; max-width: 1400px !important; margin: auto; }
.label-text { white-space: normal !important; }
#status progress { width: 100%; }
#status { min-height: 5em; }
"""


def build(options: AppOptions, desk: Desk, folder: Path, examples: Sequence[Path]) -> gr.Blocks:
    """The page. Results lie in ``folder`` until Gradio has taken them over."""
    with gr.Blocks(title="invsolve", analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.Markdown("# invsolve\nDrop a picture or take an example, say what is wrong with it, and press *Restore*.")
        with gr.Row():
            with gr.Column(min_width=300):
                fields = _fields(examples)
                with gr.Row():
                    start = gr.Button("Restore", variant="primary", elem_id="restore")
                    stop = gr.Button("Stop", elem_id="stop")
            with gr.Column(min_width=300):
                shown = _results()

        def restore(values: Mapping[Component, Any]) -> Iterator[dict[Component, Any]]:
            form = Form(**{name: values[field] for name, field in fields.items()})
            yield {part: _hidden() for name, part in shown.items() if name not in ("status", "so_far")}
            with tempfile.TemporaryDirectory(dir=folder) as results, _errors_in_words(form):
                run = form.options(options, Path(results))
                for step in desk.restore(run):
                    found = _on_its_way(step) if isinstance(step, Progress) else _restored(step, run)
                    yield {shown[name]: value for name, value in found.items()}

        restoring = start.click(
            restore,
            set(fields.values()),
            [*shown.values()],
            show_progress_on=shown["status"],
            concurrency_limit=1,
            api_visibility="private",
        )
        stop.click(lambda: "Stopped.", None, shown["status"], cancels=[restoring], api_visibility="private")
    return page


def _fields(examples: Sequence[Path]) -> dict[str, Component]:
    """Those of :class:`Form`, by its names."""
    names = [*TASKS]
    picture = gr.File(label="Picture", height=110, elem_id="picture")
    thumbnails = gr.Gallery(
        [str(path) for path in examples],
        label="Examples",
        show_label=False,
        columns=len(examples),
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )
    wrong = gr.Radio(names, value=names[0], label="What is wrong with it?", elem_id="wrong")
    simulate = gr.Checkbox(
        label="It is a clean picture", info="to be spoilt like this first, restored and measured", elem_id="simulate"
    )
    preview = gr.Image(label="The picture", interactive=False, visible=False, buttons=[], elem_id="preview")
    painted = gr.ImageEditor(
        label="Paint gaps",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size=12, colors=[MISSING], color_mode="fixed"),
        visible=False,
        elem_id="painted",
    )
    factor = gr.Slider(2, 8, 4, step=1, label="Enlarge each side by", elem_id="factor")
    std = gr.Slider(0.5, 10, 3, step=0.1, label="Blur: standard deviation in pixels", visible=False, elem_id="std")
    kernel = gr.File(
        label="Kernel of the blur: a picture or a .npy", height=110, visible=False, elem_id="kernel"
    )  # fmt: skip
    estimate = gr.Checkbox(True, label="Find out how much noise there is", elem_id="estimate")
    gray_levels = gr.Slider(0, 100, 5, step=0.5, label="Noise in 255 gray levels", visible=False, elem_id="noise")
    with gr.Row():
        steps = gr.Slider(1, 64, 4, step=1, label="Network evaluations", elem_id="steps")
        samples = gr.Slider(1, 16, 1, step=1, label="Samples", elem_id="samples")
    with gr.Accordion("More", open=False):
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
        format = gr.Dropdown(list(get_args(Format)), value="png", label="Format", elem_id="format")

    def look(path: str | None, wrong: str) -> dict[Component, Any]:
        if path is None:
            return {preview: _hidden(value=None), painted: _hidden(value=None)}
        try:
            image = _small(in_channels(over(read_picture(path), "white"), 3))
        except ValueError as error:
            raise gr.Error(_words(error, path), print_exception=False) from None
        editor = {"background": image, "layers": [], "composite": image}
        on = takes(wrong) == "mask"
        return {preview: gr.update(value=image, visible=not on), painted: gr.update(value=editor, visible=on)}

    def ask(path: str | None, wrong: str, estimated: bool) -> dict[Component, Any]:
        given, there = takes(wrong), path is not None
        visible = {
            preview: there and given != "mask",
            painted: there and given == "mask",
            factor: TASKS[wrong] == "sr4x",
            std: TASKS[wrong] == "deblur_gaussian",
            kernel: given == "kernel",
            estimate: has_level(wrong),
            gray_levels: has_level(wrong) and not estimated,
        }
        return {part: gr.update(visible=is_so) for part, is_so in visible.items()}

    def take(chosen: gr.SelectData) -> tuple[str, bool]:
        return str(examples[chosen.index]), True

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    picture.change(look, [picture, wrong], [preview, painted], **quiet)
    thumbnails.select(take, None, [picture, simulate], **quiet)
    asked = [preview, painted, factor, std, kernel, estimate, gray_levels]
    for part in (wrong, estimate):
        part.change(ask, [picture, wrong, estimate], asked, **quiet)
    return {
        "picture": picture,
        "wrong": wrong,
        "simulate": simulate,
        "painted": painted,
        "factor": factor,
        "std": std,
        "kernel": kernel,
        "estimate": estimate,
        "gray_levels": gray_levels,
        "steps": steps,
        "samples": samples,
        "seed": seed,
        "format": format,
    }


def _results() -> dict[str, Component]:
    return {
        "status": gr.HTML("", elem_id="status"),
        "so_far": gr.Image(label="On its way", visible=False, interactive=False, buttons=[], elem_id="so_far"),
        "slider": gr.ImageSlider(
            label="Before and after", visible=False, interactive=False, max_height=700, elem_id="slider"
        ),
        "gallery": gr.Gallery(
            label="Samples", columns=4, visible=False, interactive=False, buttons=["download"], elem_id="gallery"
        ),
        "deviation": gr.Image(
            label="Where they differ (white: standard deviation of 0.5 on [-1, 1])",
            visible=False,
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="deviation",
        ),
        "files": gr.Files(label="Files", visible=False, interactive=False, elem_id="files"),
        "command": gr.Code(label="The command that does the same", visible=False, interactive=False, elem_id="command"),
    }


def _on_its_way(step: Progress) -> dict[str, Any]:
    bar = f'<progress value="{step.done}" max="{step.total}"></progress>'
    return {
        "status": f"{bar}<br>{step.done} of {step.total} network evaluations",
        "so_far": gr.update(value=_small(in_channels(step.image, 3)), visible=True),
    }


def _restored(step: Restored, run: RunOptions) -> dict[str, Any]:
    paths = step.paths
    after = read_image(paths["restored"])
    before = resized(read_image(paths.get("measurement", run.inputs[0])), after.shape[-2:])
    samples = [(str(path), name) for name, path in paths.items() if name.startswith(("mean", "sample"))]
    files = [str(path) for path in [*paths.values(), *([run.mask] if run.mask else [])]]
    return {
        "status": "<br>".join(html.escape(line) for line in step.said),
        "so_far": _hidden(value=None),
        "slider": gr.update(value=(_small(before), _small(after)), visible=True),
        "gallery": gr.update(value=samples, visible=bool(samples)),
        "deviation": gr.update(value=str(paths["std"]) if samples else None, visible=bool(samples)),
        "files": gr.update(value=files, visible=True),
        "command": gr.update(value=command(run), visible=True),
    }


def _hidden(**more: Any) -> Any:
    return gr.update(visible=False, **more)


def _small(image: Tensor) -> np.ndarray:
    """An image ``[3, H, W]`` as bytes ``[H, W, 3]``, of at most ``SHOWN`` pixels a side."""
    size = image.shape[-2:]
    scale = min(1, SHOWN / max(size))
    return to_bytes(resized(image, [max(1, round(scale * n)) for n in size]))


@contextlib.contextmanager
def _errors_in_words(form: Form) -> Iterator[None]:
    """What is wrong with the fields or the files is shown in one line."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise gr.Error(_words(error, form.picture, form.kernel), print_exception=False) from None


def _words(error: Exception, *files: str | None) -> str:
    """What an error says, with the names of files that the user knows, as HTML."""
    text = str(error)
    for file in filter(None, files):
        text = text.replace(file, Path(file).name)
    return html.escape(text)
