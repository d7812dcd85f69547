"""Boxes as four edges, left, top, right, bottom, and how far two of them are the same."""


def overlap(one: list, other: list) -> float:
    """Area that both cover over the area that either covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    area = lambda box: max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
    return both / max(1e-9, area(one) + area(other) - both)
