"""The page's files: they are served completely, and follow the rules of a strict policy."""

import re
from importlib.resources import files

import httpx
import pytest

PARTS = {
    each.name: each.read_text("utf-8")
    for each in files("orderworks_app.gateway").joinpath("static").iterdir()
}
SCRIPTS = {name: text for name, text in PARTS.items() if name.endswith(".js")}

NAMESPACE = "http://www.w3.org/2000/svg"
"""The only URL that the page may contain: it is the name of a namespace, which is not requested."""


def test_page_and_all_its_files_are_served(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page.text))
    imported = {
        f"page/{name}"
        for text in SCRIPTS.values()
        for name in re.findall(r'from "\./([^"]+)"', text)
    }
    assert {"page/main.js", "page/style.css"} <= named
    for path in named | imported:
        assert http.get(f"/{path}").status_code == 200, path


def test_known_etag_of_page_file_gives_304(http: httpx.Client) -> None:
    first = http.get("/page/main.js")
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert first.headers["Cache-Control"] == "no-cache"
    again = http.get(
        "/page/main.js", headers={"If-None-Match": f'W/"other", {first.headers["ETag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert http.get("/page/main.js", headers={"If-None-Match": '"other"'}).content == first.content


@pytest.mark.parametrize("name", ["nothing.js", "__init__.py", "..%2fapp.py", "%2e%2e/app.py"])
def test_other_paths_below_page_are_404(http: httpx.Client, name: str) -> None:
    assert http.get(f"/page/{name}").status_code == 404


def test_page_has_a_minimal_content_security_policy(http: httpx.Client) -> None:
    policy = dict(
        each.split(" ", 1) for each in http.get("/").headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("name", sorted(PARTS))
def test_no_page_file_references_another_host(name: str) -> None:
    assert "//" not in re.sub(r"(?m)(^|\s)//\s.*$", "", PARTS[name].replace(NAMESPACE, ""))


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_inserts_data_as_html(name: str) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser", SCRIPTS[name]
    )


def test_page_has_no_inline_script_or_style() -> None:
    page = PARTS["index.html"]
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page)
