"""How a server collects garbage."""

import gc

from kubedr_server.ops.garbage import collect_seldom


def test_what_is_loaded_is_not_looked_at_again_and_the_rest_more_seldom() -> None:
    before = gc.get_threshold()
    try:
        collect_seldom()
        assert gc.get_freeze_count() > 0
        assert all(now > usual for now, usual in zip(gc.get_threshold(), before, strict=True))
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
