"""How every figure of the book looks, and how it reaches a page.

One colour and one marker per system, fixed here, so that a system looks the same in
every figure of the book. Systems that share a hue for some kind of colour vision never
share a marker. Figures are opaque white: they stay readable in dark mode and in print.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from msa.models.registry import model_entry


class SystemStyle(NamedTuple):
    """Colour (hex), matplotlib marker and line style of one system."""

    colour: str
    marker: str
    line: str | tuple = "-"


SYSTEMS = {
    "MFMB-Net": SystemStyle("#0072B2", "o"),
    "MIT-FRNet": SystemStyle("#D55E00", "s"),
    "TFR-Net": SystemStyle("#009E73", "D"),
    "TFN": SystemStyle("#882255", "^"),
    "LMF": SystemStyle("#B07D00", "v"),
    "MulT": SystemStyle("#332288", "<"),
    "MISA": SystemStyle("#C2559E", ">"),
    "Self-MM": SystemStyle("#8C5A2B", "P"),
    "MMIM": SystemStyle("#3A8FD0", "X"),
    "text-linear": SystemStyle("#222222", "*", "--"),
    "constant": SystemStyle("#6E6E6E", "h", ":"),
    "FC(T)": SystemStyle("#AA3377", "p", "-."),
    "FC(A)": SystemStyle("#7A7A1E", "d", "-."),
    "FC(V)": SystemStyle("#CC6677", "8", "-."),
    "Concat(V,A,T)": SystemStyle("#2A8C82", "H", "-."),
}
"""Style of every system, in the order in which tables and legends list them. Colours
have a contrast of at least 3:1 on white."""

_VARIANT_LINES = ((0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 3)))
"""Matplotlib dashes of variants other than the default."""

SPLIT_COLOURS = {"train": "#0072B2", "valid": "#D55E00", "test": "#009E73"}
"""Colour of each split wherever splits are drawn together."""

MODALITY_COLOURS = {"text": "#332288", "audio": "#B07D00", "vision": "#117733"}
"""Colour of each modality wherever modalities are drawn together."""

_CYCLE = (
    *("#4C72B0", "#DD8452", "#55A868", "#C44E52", "#8172B3"),
    *("#937860", "#DA8BC3", "#8C8C8C", "#CCB974", "#64B5CD"),
)
"""For lines that are neither a system nor a split nor a modality."""

# Set here and not by seaborn's theme, which it began as: importing seaborn would cost
# every page of the book a second and more.
_RC = {
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same everywhere
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": ".15",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=_CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "svg.hashsalt": "msa",  # the same figure gives the same file
    "svg.fonttype": "none",  # text stays text: a third of the size
    "image.cmap": "cividis",
    "legend.title_fontsize": 12,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "text.color": ".15",
    **{
        f"{axis}tick.{name}": value
        for axis in ("x", "y")
        for name, value in (
            ("color", ".15"),
            ("major.size", 6),
            ("major.width", 1.25),
            ("minor.size", 4),
            ("minor.width", 1),
        )
    },
    "xtick.bottom": False,
    "ytick.left": False,
}

_FONT = b"'DejaVu Sans', sans-serif"
_FONT_AND_TWIN = b"'DejaVu Sans', Verdana, sans-serif"
"""For readers without the font of the figures: Verdana has the same widths."""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the book's style inside a ``with`` block, and leave no trace after."""
    with mpl.rc_context():
        mpl.rcParams.update(_RC)
        yield


def system_style(model: str, variant: str | None = None) -> SystemStyle:
    """Return the fixed style of a system.

    Parameters
    ----------
    model : str
        Name of the system in the model registry.
    variant : str, optional
        One of its variants. All share colour and marker; those that are not the
        default have another line.

    Raises
    ------
    KeyError
        If no style is fixed for it.
    """
    if model not in SYSTEMS:
        raise KeyError(
            f"no colour and marker are fixed for the system {model!r}; "
            "add it to SYSTEMS in msa/report/style.py"
        )
    style = SYSTEMS[model]
    names = list(model_entry(model).variants) if variant is not None else [variant]
    number = names.index(variant)
    if number == 0:
        return style
    return style._replace(line=_VARIANT_LINES[(number - 1) % len(_VARIANT_LINES)])


def system_order(models: Iterable[str]) -> list[str]:
    """Return the distinct names in ``models`` in the order of `SYSTEMS`."""
    present = set(models)
    for model in present:
        system_style(model)  # an unknown one is an error, not a silent omission
    return [model for model in SYSTEMS if model in present]


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def download_link(name: str, kind: str, content: bytes, text: str) -> str:
    """Return an HTML link that saves ``content`` as a file, without any server.

    Parameters
    ----------
    name : str
        File name that the reader's browser proposes.
    kind : str
        Media type, such as ``"text/csv"``.
    content : bytes
        The file.
    text : str
        What the link says.
    """
    return (
        f'<a download="{html.escape(name)}" href="{_data_uri(kind, content)}">'
        f"{html.escape(text)}</a>"
    )


@dataclass(frozen=True)
class Picture:
    """A finished figure: what a page shows of it and what a reader can download.

    Attributes
    ----------
    name : str
        Stem of the file names.
    alt : str
        What the figure shows, in words, for readers who do not see it.
    caption : str
        Line under the figure: data set, feature view, encoder, rates, seeds.
    svg, pdf, png : bytes
        The figure in three formats; the page shows the SVG.
    """

    name: str
    alt: str
    caption: str
    svg: bytes
    pdf: bytes
    png: bytes

    @classmethod
    def of(cls, figure: Figure, name: str, alt: str, caption: str) -> Picture:
        """Render a matplotlib figure in all formats.

        Raises
        ------
        ValueError
            If ``alt`` or ``caption`` is empty: no figure goes out without a label.
        """
        if not alt.strip() or not caption.strip():
            raise ValueError(f"the figure {name!r} needs an alt text and a caption")

        def render(kind: str, **metadata: None) -> bytes:
            buffer = io.BytesIO()
            # Dates are left out, so that an unchanged figure is an unchanged file.
            figure.savefig(
                buffer, format=kind, bbox_inches=edges, dpi=150, metadata=metadata
            )
            return buffer.getvalue()

        # Laid out and measured once, not once per format.
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
        with mpl.rc_context(_RC):
            edges = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
            svg = render("svg", Date=None).replace(_FONT, _FONT_AND_TWIN)
            pdf = render("pdf", CreationDate=None)
            png = render("png")
        return cls(name, alt, caption, svg, pdf, png)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Show the SVG with caption and downloads; PNG where HTML cannot go."""
        # The link takes the SVG from the image: the page carries it once, not twice.
        svg = (
            f'<a download="{html.escape(self.name)}.svg" href="#" onclick="this.href='
            "this.closest('figure').querySelector('img').src\">SVG</a>"
        )
        pdf = download_link(f"{self.name}.pdf", "application/pdf", self.pdf, "PDF")
        page = (
            f'<figure class="msa-figure">'
            f'<img src="{_data_uri("image/svg+xml", self.svg)}" '
            f'alt="{html.escape(self.alt)}">'
            f"<figcaption>{html.escape(self.caption)} "
            f'<span class="msa-downloads">{svg} · {pdf}</span></figcaption></figure>'
        )
        return {
            "text/html": page,
            "image/png": base64.b64encode(self.png).decode("ascii"),
            "text/plain": f"{self.alt}\n{self.caption}",
        }

    def save(self, folder: Path) -> Path:
        """Write ``<name>.svg`` into a folder, made if need be, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.svg"
        path.write_bytes(self.svg)
        return path
