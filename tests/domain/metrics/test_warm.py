from app.domain.metrics.warm import warm


def test_warming_up_twice_is_as_good_as_once() -> None:
    warm()
    warm()
