"""The routes of the web page. Everything is made here and sent as HTML; only the chat needs a script."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, HTMLResponse, Response

from tenfold.apps import recipes
from tenfold.apps.ui import comparing
from tenfold.apps.ui import runs as shown_runs
from tenfold.core.errors import UserError

HERE = Path(__file__).parent
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("style", "script", "connect", "img", "frame")),
        "form-action 'self'",
        "base-uri 'none'",
    )
)
"""What a page may load: nothing from anywhere else."""
MOST_COMPARED = 4


def page_routes(root: Path, model: str, *, has_guard: bool = False) -> APIRouter:
    """The routes for the runs under `root`, the model that is served, and the guard if there is one."""
    router = APIRouter(include_in_schema=False)
    tabs = [("Chat", "/"), ("Runs", "/runs"), *([("Guard", "/guard")] if has_guard else [])]
    templates = _templates({"model": model, "root": str(root), "tabs": tabs})
    reports = Path(tempfile.mkdtemp(prefix="tenfold-ui-"))

    def page(name: str, here: str, status: int = 200, **values: Any) -> HTMLResponse:
        html = templates.get_template(name).render(here=here, **values)
        return HTMLResponse(html, status, headers={"Content-Security-Policy": POLICY})

    def sorry(error: UserError, status: int = 404) -> HTMLResponse:
        return page("sorry.html.j2", "", status, message=str(error))

    @router.get("/")
    def chat() -> Response:
        return page("chat.html.j2", "Chat")

    @router.get("/guard")
    def guard() -> Response:
        if not has_guard:
            return sorry(UserError("there is no guard here; start tenfold ui with --guard RUN"))
        return page("guard.html.j2", "Guard")

    @router.get("/runs")
    def list_runs() -> Response:
        return page("runs.html.j2", "Runs", runs=shown_runs.every(root), most=MOST_COMPARED)

    @router.get("/compare")
    def compare(run: Annotated[list[str] | None, Query()] = None) -> Response:
        names = (run or [])[:MOST_COMPARED]
        try:
            chosen = [shown_runs.find(root, *name.split("/", 1)) for name in names if "/" in name]
        except UserError as error:
            return sorry(error)
        if len(chosen) < 2:
            return sorry(UserError("choose at least two runs on the page Runs, then Compare"), 400)
        chosen.sort(key=lambda run: run.folder.name)
        settings, metrics = comparing.settings_lines(chosen), comparing.metrics_lines(chosen)
        return page("compare.html.j2", "Runs", runs=chosen, settings=settings, metrics=metrics)

    @router.get("/runs/{kind}/{name}")
    def show_run(kind: str, name: str) -> Response:
        try:
            run = shown_runs.find(root, kind, name)
        except UserError as error:
            return sorry(error)
        settings, metrics = (
            [(key, comparing.shown(value)) for key, value in shown_runs.leaves(table)]
            for table in (run.settings, run.metrics or {})
        )
        return page("run.html.j2", "Runs", run=run, settings=settings, metrics=metrics)

    @router.get("/runs/{kind}/{name}/report")
    def show_report(kind: str, name: str) -> Response:
        try:
            run = shown_runs.find(root, kind, name)
            return FileResponse(recipes.write_report(run.folder, reports / f"{kind}-{name}.html"))
        except UserError as error:
            return sorry(error)

    @router.get("/runs/{kind}/{name}/files/{path:path}")
    def show_file(kind: str, name: str, path: str) -> Response:
        try:
            return FileResponse(shown_runs.find(root, kind, name).file(path))
        except UserError as error:
            return sorry(error)

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        known = {file.name: file for file in (HERE / "static").iterdir()}
        return FileResponse(known[name]) if name in known else sorry(UserError(f"there is no file {name!r} here"))

    @router.get("/favicon.ico")
    def icon() -> Response:
        """For pages that name none, such as a run's own."""
        return FileResponse(HERE / "static" / "icon.svg")

    return router


def _templates(values: Mapping[str, Any]) -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= values
    return templates
