"""What a layer in matrix tiles has to do: products and loads of tiles, lines that are copied, weights, and outputs."""

from lth_deploy.compiler.planning.tile_form import LINES, ROWS, TileForm, in_one_run
from lth_deploy.kernels.program.values import Window

CLASS = "tiles"
"""Of layers in matrix tiles, in the names of their amounts."""


def tile_amounts(form: TileForm, window: Window, outputs: int, rows: int, width: int) -> dict[str, float]:
    """Amounts of a layer by their names behind the class.

    rows, width: of its output in lines of 16 lanes, over all images.
    """
    if in_one_run(window):
        rows, width = 1, rows * width
    lines, whole = rows * width, form.columns == 1 and not in_one_run(window)
    most = LINES // max(form.shared, 1)
    blocks = rows * -(-width // most)
    loads = form.tiles * blocks
    if form.shared:
        loads += form.tiles // form.shared * lines
    else:
        step = window.stride[1] if form.columns > 1 else 1
        loads += form.tiles // form.columns * ((lines - blocks) * step + blocks * form.columns)
    gathered = form.tiles // form.shared * lines * ROWS if form.shared else 0
    return {
        "products": float(form.tiles * lines),
        "loads": float(loads),
        "gathered": float(gathered),
        "copied": float(_copied(form, window) * lines if not whole else 0),
        "window lines": float(_copied(form, window) * lines if whole else 0),
        "weights": float(form.tiles),
        "outputs": float(outputs * lines * ROWS),
        "blocks": float(blocks * -(-outputs // ROWS)),
    }


def _copied(form: TileForm, window: Window) -> int:
    """Lines that are packed together for each output line, but for those at the border of a task."""
    if in_one_run(window):
        return 0 if form.shared or form.cells % ROWS == 0 else form.cells
    height, width = window.kernel
    if form.columns > 1:
        return form.cells * window.stride[0] * window.stride[1]
    return form.cells * height * min(width, window.stride[1])
