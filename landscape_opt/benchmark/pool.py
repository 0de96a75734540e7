"""Independent descents side by side: one to a core goes further than every core for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def side_by_side(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What the tasks return, in their order. So many run at a time as torch has threads, each on one of them.

    Example:
        >>> side_by_side([lambda: 1, lambda: 2])
        [1, 2]
    """
    num_threads = torch.get_num_threads()

    def on_one_thread(task: Callable[[], T]) -> T:
        torch.set_num_threads(1)
        return task()

    try:
        with ThreadPoolExecutor(num_threads) as pool:
            return list(pool.map(on_one_thread, tasks))
    finally:
        torch.set_num_threads(num_threads)
