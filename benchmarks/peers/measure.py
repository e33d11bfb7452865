"""Measures one peer on one slide, in the peer's own environment; its last line of output is JSON. Run by ../peers.py.

An adapter beside this file passes a class with

    tile(slide)            tissue and tiles by the peer's defaults, written where the peer writes them: the input of `read`
    count(tiles)           the number of tiles
    read(tiles, numbers)   yields some of the tiles as (224, 224, 3) uint8 arrays (or what the peer passes to its network)
    TILING_ONLY            optional, true: only `tile` and `count` are there
    whole(slide, network)  the peer's own way from the slide to features; returns the number of encoded tiles
    normaliser(tiles)      optional, once fitted: a function that returns the function from tile to tile
    network()              optional: a function that encodes ENCODED tiles, if it is not plain torch
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

READ, ENCODED, REPEATS = 400, 8, 3


_beside = [0.0]


def beside(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes pictures or checksums such that its CPU seconds are known, once if nested."""

    def counted(*arguments: Any, **named: Any) -> Any:
        before, began = _beside[0], cpu_seconds()
        try:
            return work(*arguments, **named)
        finally:
            _beside[0] = before + cpu_seconds() - began

    return counted


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(action: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Return the median CPU and wall seconds of an action."""
    taken = []
    for _ in range(repeats):
        began = cpu_seconds(), time.perf_counter()
        action()
        taken.append((cpu_seconds() - began[0], time.perf_counter() - began[1]))
    return [statistics.median(column) for column in zip(*taken)]


def free_network() -> Any:
    """Return a network that costs almost nothing: 4 x 4 means of each channel."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()).eval()


def _resnet50() -> Callable[[], object]:
    import torch
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50(weights=None).eval()
    network.fc = torch.nn.Identity()
    batch = torch.rand(ENCODED, 3, 224, 224)

    def encode() -> object:
        with torch.inference_mode():
            return network(batch)

    return encode


def _spread(count: int, most: int) -> list[int]:
    most = min(count, most)
    return [i * count // most for i in range(most)]


def slide_parts(peer: Any, slide: str) -> dict[str, Any]:
    """Time the whole way and its parts, each after an uncounted first call: imports and first touches are in `first`.

    The whole way comes first, so that the peak memory is its own; its network costs nothing.
    """
    network = free_network()
    found: dict[str, Any] = {"encoded": peer.whole(slide, network)}
    found["whole"] = timed(lambda: peer.whole(slide, network))
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found |= tiling(peer, slide)
    tiles = peer.tile(slide)
    numbers = _spread(peer.count(tiles), READ)
    images = list(peer.read(tiles, numbers))
    found["read"] = [s / len(images) for s in timed(lambda: sum(1 for _ in peer.read(tiles, numbers)))]
    if hasattr(peer, "normaliser"):
        some = images[: getattr(peer, "NORMALISED", READ)]
        normaliser = peer.normaliser(tiles)
        # reloaded each time, so that nothing about these tiles is cached
        found["normalise"] = [s / len(some) for s in timed(lambda: list(map(normaliser(), some)))]
    return found


def tiling(peer: Any, slide: str) -> dict[str, Any]:
    """Time tissue and tiles, also without pictures and checksums."""
    tiles = peer.tile(slide)
    _beside[0] = 0.0
    found = {"tile": timed(lambda: peer.tile(slide)), "tiles": peer.count(tiles)}
    return found | {"tile_alone": found["tile"][0] - _beside[0] / REPEATS}


def slide_and_encoder(peer: Any, slide: str) -> dict[str, Any]:
    """Time the slide's parts, and a ResNet50 on tiles in memory by the peer's engine."""
    found = slide_parts(peer, slide)
    encode = peer.network() if hasattr(peer, "network") else _resnet50()
    encode()
    return found | {"encode": [s / ENCODED for s in timed(encode)]}


def first(peer: Any, slide: str) -> dict[str, Any]:
    """Time from the start of the process to the first tile in memory."""
    tiles = peer.tile(slide)
    next(iter(peer.read(tiles, [0])))
    return {"first": [time.process_time(), time.time() - float(os.environ["PEER_BEGAN"])]}


def main(adapter: Callable[[], Any]) -> None:
    """Run the part named on the command line: PART SLIDE."""
    part, slide = sys.argv[1:3]
    parts = {"first": first, "slide": slide_parts, "slide-and-encoder": slide_and_encoder, "tile": tiling}
    peer = adapter()
    if getattr(peer, "TILING_ONLY", False):
        parts = dict.fromkeys(parts, tiling) | {"first": lambda *_: {}}
    found = parts[part](peer, slide)
    print("\n" + json.dumps(found))
