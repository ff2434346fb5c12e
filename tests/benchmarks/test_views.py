from benchmarks import views


def test_a_table_tells_the_median_and_what_it_lies_between() -> None:
    found = {"a": {"click (ms)": [300.0, 100.0, 200.0]}, "b": {"click (ms)": [7.0], "memory (MB)": [1234.4]}}
    assert views.table(found).splitlines()[2:] == [
        "| click (ms) | 200 (100 to 300) | 7 |",
        "| memory (MB) | not measured | 1,234 |",
    ]
