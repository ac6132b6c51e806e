from raybench.scenario.process_cache import ProcessCache


def test_an_object_is_built_once_and_the_oldest_is_dropped_before_a_new_one_is_built():
    cache = ProcessCache(capacity=2)
    sizes = []

    def build(name):
        sizes.append(len(cache.values))
        return [name]

    first = cache.get("a", lambda: build("a"))
    assert cache.get("a", lambda: build("again")) is first
    cache.get("b", lambda: build("b"))
    cache.get("c", lambda: build("c"))
    assert list(cache.values) == ["b", "c"]
    assert sizes == [0, 1, 1]
