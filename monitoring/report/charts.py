"""The two small charts of the report: a change with its interval, and pages an hour.

Both are plain elements placed by percent, so that they keep their shape from a phone to a printed page.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from monitoring.job_report import Check

LEAST = 1.3  # the scale reaches this far past the tolerance that pages, so that its zone is always seen


def interval_chart(check: Check) -> Markup:
    """The change with its 90 % interval over the zones in which it passes, warns and pages; empty without figures."""
    if check.change is None or check.low is None or check.high is None or not check.warn_at:
        return Markup("")
    page = check.page_at if check.page_at is not None else 3 * check.warn_at
    reach = 1.12 * max(abs(check.low), abs(check.high), LEAST * page)

    def x(value: float) -> float:
        return round(50 * (1 + value / reach), 2)

    def piece(kind: str, low: float, high: float) -> str:
        return f'<i class="{kind}" style="left:{x(low)}%;width:{round(x(high) - x(low), 2)}%"></i>'

    def label(value: float, text: str) -> str:
        return f'<b style="left:{x(value)}%">{text}</b>'

    side = 1 if check.change >= 0 else -1
    parts = [
        piece("zone-page", -reach, reach),
        piece("zone-warn", -page, page),
        piece("zone-pass", -check.warn_at, check.warn_at),
        f'<i class="zero" style="left:{x(0)}%"></i>',
        piece("span", check.low, check.high),
        f'<i class="dot" style="left:{x(check.change)}%"></i>',
        label(0, "equal" if check.unit == "relative price" else "training"),
        label(side * page, "pages") if check.page_at is not None else label(side * check.warn_at, "warns"),
    ]
    spoken = f"change {check.change:.3g}, 90 % interval {check.low:.3g} to {check.high:.3g}"
    # every part is a number or one of the fixed words above, so the whole is safe to show unescaped
    return Markup(f'<div class="scale" role="img" aria-label="{spoken}">{"".join(parts)}</div>')  # noqa: S704


def traffic_chart(hours: Mapping[str, int]) -> Markup:
    """Pages an hour as bars; empty for less than two hours."""
    if len(hours) < 2:
        return Markup("")
    counts = [hours[hour] for hour in sorted(hours)]
    most = max(counts)
    bars = "".join(f'<i style="height:{100 * count / most:.1f}%"></i>' for count in counts)
    spoken = f"pages an hour over {len(counts)} hours, from {min(counts):,} to {most:,}"
    return Markup(f'<div class="traffic" role="img" aria-label="{spoken}">{bars}</div>')  # noqa: S704  # numbers alone
