"""Blood vessels: cross-sections with a wall, a lumen and endothelial nuclei, glomeruloid tufts, longitudinal sections."""

from __future__ import annotations

import numpy as np

from pathduet.phantom.nuclei import Canvas


def cross_section(canvas: Canvas, y_um: float, x_um: float, radius_um: float, wall_um: float) -> None:
    """Draw a vessel in cross-section, in place.

    Parameters
    ----------
    canvas : Canvas
        Canvas to draw on.
    y_um, x_um : float
        Centre of the vessel.
    radius_um, wall_um : float
        Outer radius, and thickness of the wall; the wall has one row of nuclei per 5.5 um.
    """
    mpp, rng = canvas.bank.mpp, canvas.bank.rng
    reach = int(np.ceil(1.6 * radius_um / mpp)) + 3
    cy, cx = round(y_um / mpp), round(x_um / mpp)
    if min(cy, cx) < reach or cy + reach >= canvas.eosin.shape[0] or cx + reach >= canvas.eosin.shape[1]:
        return
    window = np.s_[cy - reach : cy + reach + 1, cx - reach : cx + reach + 1]
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32) * np.float32(mpp)
    ratio, angle = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / ratio
    theta = np.arctan2(v, u)
    phases = rng.uniform(0, 2 * np.pi, 3)
    waves = 0.09 * sum(
        rng.normal() / k * np.cos(k * theta + p) for k, p in zip((2, 3, 5), phases, strict=True)
    )
    r = np.sqrt(u**2 + v**2) / np.clip(1.0 + waves, 0.75, 1.3)
    h, e = canvas.haematoxylin[window], canvas.eosin[window]

    def soft(edge_um: float, width_um: float = 1.0) -> np.ndarray:
        return np.clip(0.5 + (edge_um - r) / width_um, 0.0, 1.0).astype(np.float32)

    lumen_um = max(radius_um - wall_um, 0.0)
    outer, lumen = soft(radius_um), soft(lumen_um) if lumen_um > 1.0 else np.zeros_like(r)
    cleft = soft(radius_um + rng.uniform(0.5, 3.0), 2.0) - outer
    e *= 1.0 - 0.75 * cleft
    h *= 1.0 - 0.6 * cleft
    wall_tone = rng.uniform(0.45, 0.66)
    grain = _grain(canvas, *r.shape)
    lamellae = (
        1.0 + 0.09 * np.cos(2 * np.pi * r / 2.6 + 3 * np.cos(theta + phases[0]) + 0.9 * grain) + 0.09 * grain
    )
    e += outer * (wall_tone * lamellae - e)
    h += outer * (0.10 - h)
    e *= 1.0 - 0.96 * lumen
    h *= 1.0 - lumen

    if lumen_um > 4.0:
        for _ in range(int(rng.uniform(0.0, 0.75) * lumen_um**2 * ratio / 11.0)):
            d, t = lumen_um * 0.85 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
            px, py = _polar(d, t, angle, ratio)
            canvas.stamp(canvas.bank.pick("erythrocyte"), y_um + py, x_um + px)
    rows = max(1, round(wall_um / 5.5))
    for row in range(rows):
        at = lumen_um + (row + 0.5) * wall_um / rows
        count = max(2, int(2 * np.pi * at / rng.uniform(13.0, 22.0)))
        for t in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 1):
            t += rng.normal(0, 0.12)
            d = at * rng.uniform(0.94, 1.06)
            px, py = _polar(d, t, angle, ratio)
            tangent = np.arctan2(*_polar(1.0, t + np.pi / 2, angle, ratio)[::-1]) + rng.normal(0, 0.15)
            if rng.random() < 0.25:
                cell = canvas.bank.pick("glia")
            else:
                cell = canvas.bank.spindle(float(tangent))
            canvas.stamp(cell, y_um + py, x_um + px)


def tuft(canvas: Canvas, y_um: float, x_um: float, size_um: float) -> None:
    """Draw a glomeruloid tuft, in place: several small thick-walled vessels side by side."""
    rng = canvas.bank.rng
    for _ in range(int(rng.integers(3, 7))):
        d, t = 0.62 * size_um * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        radius = rng.uniform(0.30, 0.5) * size_um
        wall = radius * rng.uniform(0.55, 0.85)
        cross_section(canvas, y_um + d * np.sin(t), x_um + d * np.cos(t), radius, wall)


def along(canvas: Canvas, y_um: float, x_um: float, length_um: float, radius_um: float) -> None:
    """Draw a vessel in longitudinal section, in place: a curved eosinophilic band with nuclei in line."""
    mpp, rng = canvas.bank.mpp, canvas.bank.rng
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25) * length_um
    s = np.linspace(-0.5, 0.5, max(12, int(length_um / 4)))
    px = s * length_um
    py = bend * (1 - 4 * s**2) + rng.uniform(0.0, 0.06) * length_um * np.sin(s * rng.uniform(6, 14))
    path_x, path_y = px * np.cos(angle) - py * np.sin(angle), px * np.sin(angle) + py * np.cos(angle)
    pad = radius_um + 4.0
    top, left = y_um + path_y.min() - pad, x_um + path_x.min() - pad
    rows, columns = int((np.ptp(path_y) + 2 * pad) / mpp), int((np.ptp(path_x) + 2 * pad) / mpp)
    y0, x0 = round(top / mpp), round(left / mpp)
    if min(y0, x0) < 0 or y0 + rows >= canvas.eosin.shape[0] or x0 + columns >= canvas.eosin.shape[1]:
        return
    window = np.s_[y0 : y0 + rows, x0 : x0 + columns]
    h, e = canvas.haematoxylin[window], canvas.eosin[window]
    # Distance to the path on a grid of about 2 um, interpolated: the path is smooth, the window can be large.
    step = max(1, round(2.0 / mpp))
    gy, gx = np.arange(0, rows + step, step), np.arange(0, columns + step, step)
    yy, xx = y0 * mpp + gy * mpp - y_um, x0 * mpp + gx * mpp - x_um
    coarse = np.sqrt(
        ((yy[:, None, None] - path_y) ** 2 + (xx[None, :, None] - path_x) ** 2).min(axis=2)
    ).astype(np.float32)
    t = (np.arange(step, dtype=np.float32) / step)[None, :]
    fine = (coarse[:-1, None, :] * (1 - t[..., None]) + coarse[1:, None, :] * t[..., None]).reshape(
        -1, len(gx)
    )
    distance = (fine[:, :-1, None] * (1 - t) + fine[:, 1:, None] * t).reshape(len(fine), -1)[:rows, :columns]
    band = np.clip(0.5 + (radius_um - distance) / 1.2, 0.0, 1.0)
    cleft = np.clip(0.5 + (radius_um + 1.5 - distance) / 1.5, 0.0, 1.0) - band
    e *= 1.0 - 0.7 * cleft
    grain = _grain(canvas, rows, columns)
    stripes = 1.0 + 0.09 * np.cos(2 * np.pi * distance / 2.8 + 1.3 * grain) + 0.09 * grain
    e += band * (rng.uniform(0.42, 0.62) * stripes - e)
    h += band * (0.08 - h)
    if radius_um > 6.0:
        lumen = np.clip(0.5 + (rng.uniform(0.0, 0.4) * radius_um - distance) / 1.0, 0.0, 1.0)
        e *= 1.0 - 0.9 * lumen
        h *= 1.0 - lumen
    spacing_um = 45.0 if radius_um < 4.0 else 18.0
    for i in range(1, len(s) - 1):
        for side in (-1, 1):
            if rng.random() > 4.0 / spacing_um:
                continue
            tangent = np.arctan2(path_y[i + 1] - path_y[i - 1], path_x[i + 1] - path_x[i - 1])
            off = side * radius_um * rng.uniform(0.45, 0.95)
            ny, nx = y_um + path_y[i] + off * np.cos(tangent), x_um + path_x[i] - off * np.sin(tangent)
            canvas.stamp(canvas.bank.spindle(float(tangent)), ny, nx)


def _grain(canvas: Canvas, rows: int, columns: int) -> np.ndarray:
    """Return a (rows, columns) cut-out of the bank's seamless chromatin noise."""
    chromatin = canvas.bank.chromatin
    side = len(chromatin)
    y, x = canvas.bank.rng.integers(0, side, 2)
    return chromatin[np.ix_((y + np.arange(rows)) % side, (x + np.arange(columns)) % side)]


def _polar(d: float, t: float, angle: float, ratio: float) -> tuple[float, float]:
    """Return (x, y) of a point on the flattened, rotated circle of a wall."""
    u, v = d * np.cos(t), d * np.sin(t) * ratio
    return u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
