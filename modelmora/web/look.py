"""The look of our pages: one shell, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib import resources

from starlette.responses import HTMLResponse

from modelmora import __version__

_FILES = resources.files("modelmora.web")
_LOGO = _FILES.joinpath("logo.svg").read_text()
_STYLE = _FILES.joinpath("look.css").read_text()
_ICON = f"data:image/svg+xml;base64,{base64.b64encode(_LOGO.encode()).decode()}"


def page(title: str, body: str, links: dict[str, str], script: str = "") -> HTMLResponse:
    """A whole page; `body` is HTML, `links` go from names to addresses into its header."""
    html = document(title, body, links, script, home="/")
    return HTMLResponse(html, headers={"content-security-policy": _policy(script)})


def document(
    title: str,
    body: str,
    links: dict[str, str],
    script: str = "",
    *,
    home: str = "",
    style: str = "",
) -> str:
    """The same as the text of a file; `home` is where its name leads, `style` is more CSS."""
    asked = "".join(f'<a href="{escape(to)}">{escape(name)}</a>' for name, to in links.items())
    leads = f' href="{escape(home)}"' if home else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="{_ICON}">'
        f"<style>{_STYLE}{style}</style></head><body><header>"
        f'<a class="name"{leads}>{_LOGO}<span>ModelMora <small>{__version__}</small></span></a>'
        f"{asked}</header><main>{body}</main>"
        f"{f'<script>{script}</script>' if script else ''}</body></html>"
    )


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; its cells are HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'


def code(text: str) -> str:
    """Text as code in HTML."""
    return f"<code>{escape(text)}</code>"


def status_line(word: str, reasons: list[str]) -> str:
    """In a line how a process is: good without reasons, which follow it otherwise."""
    kind = "bad" if reasons else "good"
    told = "".join(f"; {escape(reason)}" for reason in reasons)
    return f'<p><span class="{kind}">&#9679; {escape(word)}</span>{told}</p>'


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"'sha256-{digest}'" if script else "'none'"
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        f"frame-ancestors 'none'; script-src {scripts}"
    )
